"""Tiled translation: distance to the whole image, seams, Dice, speed against plain tiles, memory, and kills.

python benchmarks/tiles.py MODEL IMAGE --segmenter SEGMENTER    # writes docs/results/tiles.md
python benchmarks/tiles.py MODEL IMAGE --also MODEL IMAGE --large 20000

MODEL is a run or model folder, SEGMENTER the folder of a segmenter of its outputs. The first IMAGE is mirrored to the
sizes that are needed. --also compares tiles of a second model and image with the whole.
"""

import argparse
import hashlib
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import table
import torch

from diptych.data.images import image_io
from diptych.inference.formats.opening import create_sink
from diptych.inference.large_images import ArraySource, blocks
from diptych.inference.load import load
from diptych.inference.tiles import TiledTranslation, TileOptions, find_statistics
from diptych.system.hardware import peak_gib

PAGE = Path(__file__).parents[1] / "docs" / "results" / "tiles.md"
TILE = 128  # of the comparison
WAYS = "model and image | way | PSNR to the whole image, dB | seam ratio | Dice of the segmentation"
SPEED = "tile in pixels | tile in reaches | CPU seconds a megapixel | plain tiles | throughput to plain tiles"
KILLS = "image | killed | peak memory, GiB | wall time, s | equal bytes"
LEAD = """The whole image against tiles of the same model. Plain tiles have no halo, and norms of their own statistics.
The seam ratio is the mean difference of neighbouring pixels across borders of tiles, divided by that of the whole image
at the same places; without seams it is 1. Dice is the mean over classes, weighted by their pixels in the whole image,
of the overlap of what the segmenter finds in the tiled and in the whole translation. CPU seconds are those of the
process on one thread.

An image of 1536 x 1536 pixels is covered by 36 windows, so its statistics from 64 samples are exact, as with
`--statistics whole`. Those of 16 samples are of a part of it: that is enough for aerial photographs, but not for label
maps of facades, which are uneven."""


def mirrored(pixels, height, width, top=0, left=0):
    """Return a part of the image that is mirrored without end."""
    rows, columns = (
        np.minimum(index, 2 * length - 1 - index)
        for index, length in (
            (np.arange(top, top + height) % (2 * pixels.shape[0]), pixels.shape[0]),
            (np.arange(left, left + width) % (2 * pixels.shape[1]), pixels.shape[1]),
        )
    )
    return pixels[rows][:, columns]


def psnr(a, b):
    error = np.mean((a.astype(float) - b) ** 2)
    return float("inf") if not error else 10 * np.log10(255**2 / error)


def across(pixels, tile):
    """Return the mean difference of pixels on both sides of the borders of tiles."""
    pixels = pixels.astype(float)
    at = np.arange(tile, pixels.shape[0], tile)
    beside = np.arange(tile, pixels.shape[1], tile)
    rows, columns = pixels[at] - pixels[at - 1], pixels[:, beside] - pixels[:, beside - 1]
    return np.concatenate([np.abs(rows).ravel(), np.abs(columns).ravel()]).mean()


def plain_tiles(translator, pixels, tile):
    out = np.empty_like(pixels)
    for top, left, height, width in blocks(*pixels.shape[:2], tile):
        out[top : top + height, left : left + width] = translator.array(pixels[top : top + height, left : left + width])
    return out


def dice(labels, reference):
    """Return the mean Dice of two label maps (H, W, 3) over the colours of the second, weighted by their pixels."""
    labels, reference = (np.dot(pixels.astype(int), (65536, 256, 1)) for pixels in (labels, reference))
    total = 0.0
    for colour, count in zip(*np.unique(reference, return_counts=True), strict=True):
        both = np.sum((labels == colour) & (reference == colour))
        total += count * 2 * both / (np.sum(labels == colour) + count)
    return total / reference.size


def quality(translator, segmenter, pixels, about):
    whole = translator.array(pixels)
    results = {
        "plain tiles": plain_tiles(translator, pixels, TILE),
        "halo and statistics of 16 samples": translator.translate_large(pixels, tile=TILE, samples=16),
        "halo and statistics of 64 samples": translator.translate_large(pixels, tile=TILE, samples=64),
        "halo and exact statistics": translator.translate_large(pixels, tile=TILE, statistics="whole"),
    }
    reference = across(whole, TILE)
    labels = segmenter.array(whole) if segmenter else None
    rows = []
    for name, y in results.items():
        overlap = f"{dice(segmenter.array(y), labels):.4f}" if segmenter else "-"
        rows.append([about, name, f"{psnr(y, whole):.1f}", f"{across(y, TILE) / reference:.3f}", overlap])
    return rows


def seconds_per_megapixel(run, pixels):
    run()
    started = time.process_time()
    run()
    return (time.process_time() - started) / (pixels / 1e6)


def speed(translator, image):
    rows = []
    reach = translator.reach()
    for reaches in (8, 16, 32):
        tile = reaches * reach // 4 * 4
        pixels = mirrored(image, 3 * tile, 3 * tile)
        job = TiledTranslation(translator, ArraySource(pixels), {}, tile, "image")
        statistics = find_statistics(job, TileOptions(samples=1))
        middle = job.grid.tiles()[4]  # the others are at the border and have a smaller halo

        def tiled(job=job, middle=middle, statistics=statistics):
            return job.pixels(middle, job.translate(middle, job.read(job.grid.with_halo(middle)), statistics))

        part = pixels[tile : 2 * tile, tile : 2 * tile]
        ours = seconds_per_megapixel(tiled, tile**2)
        plain = seconds_per_megapixel(lambda part=part: translator.array(part), tile**2)
        rows.append([str(tile), str(reaches), f"{ours:.2f}", f"{plain:.2f}", f"{plain / ours:.2f}"])
    return rows


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def kills(model, image, side):
    """Translate a large file undisturbed with tiles of 512, and with tiles of 1024 killed twice; compare the bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = create_sink(folder / "in.tif", None, side, side, 3, np.uint8)
        for top, left, height, width in blocks(side, side, 512):
            source.write(top, left, mirrored(image, height, width, top, left))
        source.close()
        rows = []
        for tile, deaths in ((512, ()), (1024, (0.3, 0.6))):
            out, started = folder / f"{tile}.tif", time.time()
            for death in (*deaths, 2.0):
                command = [sys.executable, __file__, model, str(folder / "in.tif"), "--worker", str(out)]
                done = subprocess.run([*command, str(tile), str(death)], capture_output=True, text=True, check=False)
                assert done.returncode == (0 if death > 1 else -signal.SIGKILL), done.stderr
                assert out.exists() == (death > 1)
            peak = done.stdout.split()[-1]
            rows.append(
                [f"{side} x {side}, tiles of {tile}", str(len(deaths)), peak, f"{time.time() - started:.0f}", out]
            )
        same = "yes" if digest(rows[0][-1]) == digest(rows[1][-1]) else "NO"
        return [[*row[:-1], same] for row in rows]


def work(model, source, out, tile, death):
    """Translate in this process, which is killed at a share `death` of the tiles; print the peak memory in GiB."""

    def progress(what, done, total):
        if what == "tiles" and done >= death * total:
            signal.raise_signal(signal.SIGKILL)

    load(model, device="cpu").translate_large(source, out, tile=tile, progress=progress)
    print(f"{peak_gib(torch.device('cpu')):.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("image", type=Path)
    parser.add_argument("--large", type=int, default=2000)
    parser.add_argument("--size", type=int, default=1536, help="of the comparison: above 1024 statistics are sampled")
    parser.add_argument("--also", nargs=2, metavar=("MODEL", "IMAGE"))
    parser.add_argument("--segmenter")
    parser.add_argument("--large-model", help="of the large image, by default MODEL; a small one takes less time")
    parser.add_argument("--worker", nargs=3)
    given = parser.parse_args()
    if given.worker:
        out, tile, death = given.worker
        work(given.model, given.image, Path(out), int(tile), float(death))
        return
    torch.set_num_threads(1)
    translator = load(given.model, device="cpu")
    image = image_io.read(given.image)
    segmenter = load(given.segmenter, device="cpu") if given.segmenter else None
    side = given.size
    tables = {
        WAYS: quality(translator, segmenter, mirrored(image, side, side), f"{Path(given.model).name}, {side} x {side}")
    }
    if given.also:
        other = image_io.read(Path(given.also[1]))
        about = f"{Path(given.also[0]).name}, {other.shape[1]} x {other.shape[0]}"
        tables[WAYS] += quality(load(given.also[0], device="cpu"), None, other, about)
    print(tables, flush=True)
    tables[SPEED] = speed(translator, image)
    print(tables, flush=True)
    tables[KILLS] = kills(given.large_model or given.model, image, given.large)
    print(tables, flush=True)
    about = f"{translator.name}, {translator.method.config.generator}, reach {translator.reach()} pixels. "
    table.leave(str(PAGE.with_suffix(".py")), "Large images in tiles", about + LEAD, tables)


if __name__ == "__main__":
    main()
