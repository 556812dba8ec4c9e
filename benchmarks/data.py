"""Images per second on one core, from the file to the tensor: our data pipeline against Pillow with torchvision.

python benchmarks/data.py      # writes benchmarks/data.md; of real images, see `table`, else of pictures that it makes

Theirs is the chain of pytorch-CycleGAN-and-pix2pix: open, convert, Resize(load, BICUBIC), crop, flip, ToTensor,
Normalize; for pairs both halves of one decoded file with the same crop. Ours is `Batches.sample`, as in training, of
scanned files: without the cache of images, the same without imagecodecs, and from a filled cache. They take turns in
one process; what counts is the median of the ratios. Before that, ours is compared with Pillow's resizing: equal with
`resampler=pillow`.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import PIL
import table
import torch
import torchvision
from PIL import Image
from torchvision import transforms

from diptych.data.batches import Batches
from diptych.data.checks.manifest import scan
from diptych.data.dataset import Split
from diptych.data.image_columns import ImageFiles
from diptych.data.images import fast_decode, image_io
from diptych.data.images.transforms import Augment
from diptych.data.sources.folders import images_in

try:
    import imagecodecs
except ImportError:
    sys.exit("imagecodecs is not installed: pip install 'diptych[fast]'")

KINDS = {  # folder: load, crop, whether a file holds a pair side by side
    "facades/train": (286, 256, True),
    "horse2zebra/trainA": (286, 256, False),
    "afhq/train/cat": (286, 256, False),
    "afhq/train/dog": (143, 128, False),
    "emoji/google": (72, 64, False),
    "retina_vessels/train": (286, 256, True),
}
COLUMNS = (
    "images | size | load, crop | theirs, images/s | ours, images/s | from the cache, images/s | ours / theirs | "
    "decoded by Pillow / theirs | from the cache / theirs | values that differ from Pillow's, at most by"
)
LEAD = """One core, processor time; the data pipeline against Pillow with torchvision's transforms, alternating; medians
of the ratios (above 1: ours is faster). With `resampler=pillow` each pixel is equal to theirs; the last column is for
the default, `resampler=torch`. The aims are 2 without the cache and 8 from it. Ours decodes by imagecodecs (extra
`fast`); "decoded by Pillow" is ours without it, which gives the same bytes."""
BICUBIC = transforms.InterpolationMode.BICUBIC


class Theirs:
    """`AlignedDataset` and one side of `UnalignedDataset`, with their default `resize_and_crop`."""

    def __init__(self, files, load, crop, pair):
        self.files, self.load, self.crop, self.pair = files, load, crop, pair
        ends = [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
        resize = transforms.Resize([load, load], BICUBIC)
        self.alone = transforms.Compose([resize, transforms.RandomCrop(crop), transforms.RandomHorizontalFlip(), *ends])
        self.resize, self.ends = resize, transforms.Compose(ends)

    def sample(self, number):
        picture = Image.open(self.files[number]).convert("RGB")
        if not self.pair:
            return {"a": self.alone(picture)}
        width, height = picture.size
        sides = picture.crop((0, 0, width // 2, height)), picture.crop((width // 2, 0, width, height))
        x, y = np.random.randint(0, self.load - self.crop + 1, 2).tolist()
        mirrored = np.random.random() > 0.5
        return {name: self._cut(side, x, y, mirrored) for name, side in zip("ab", sides, strict=True)}

    def _cut(self, side, x, y, mirrored):
        side = self.resize(side).crop((x, y, x + self.crop, y + self.crop))
        return self.ends(side.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else side)


def ours(files, load, crop, pair):
    """Return the functions that load a sample without a cache, the same decoded by Pillow, and from a cache."""
    entries = tuple(scan(files[0].parent, files).entry_of(file) for file in files)
    halves = {"a": 0, "b": 1} if pair else {"a": None}
    columns = {name: ImageFiles(files, half, entries) for name, half in halves.items()}
    batches = Batches(Split(columns, aligned=True), dict.fromkeys(columns, 3), Augment(load, crop))
    cached = batches.with_cache(2**30, 1)

    def by_pillow(number):
        with mock.patch.object(fast_decode, "_imagecodecs", return_value=None):
            batches.sample(number, {})

    return [lambda number: batches.sample(number, {}), by_pillow, lambda number: cached.sample(number, {})]


def check_pixels(files, load, crop, pair):
    """Return the share of values that differ from Pillow's, and by how much; none does with `resampler=pillow`."""
    differences = []
    for seed, file in enumerate(files):
        whole = Image.open(file).convert("RGB")
        for half in (0, 1) if pair else (None,):
            exact, pixels = (
                Augment(load, crop, resampler=resampler)(ImageFiles(files, half)[seed], np.random.RandomState(seed))
                for resampler in ("pillow", "torch")
            )
            down, across, mirror = np.random.RandomState(seed).random_sample(3)
            top, left = (int(share * (load - crop + 1)) for share in (down, across))
            middle = whole.width // 2
            side = whole.crop((half * middle, 0, half * middle + middle, whole.height)) if pair else whole
            side = side.resize((load, load), Image.Resampling.BICUBIC).crop((left, top, left + crop, top + crop))
            side = side.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirror < 0.5 else side
            np.testing.assert_array_equal(image_io.with_channels(exact, 3, file), np.asarray(side), str(file))
            differences.append(np.abs(pixels.astype(int) - exact))
    share = statistics.mean((difference > 0).mean() for difference in differences)
    return f"{100 * share:.1f} %, {max(difference.max() for difference in differences)}"


def made_pictures(folder):
    """Stand-ins for `KINDS`: smooth colours with some noise, in files of the usual sizes."""
    rng = np.random.default_rng(0)
    for name, (height, width), suffix in (
        ("facades/train", (256, 512), "jpg"),
        ("horse2zebra/trainA", (256, 256), "jpg"),
        ("emoji/google", (64, 64), "png"),
    ):
        for number in range(32):
            coarse = image_io.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), height, width)
            noise = rng.integers(-9, 10, coarse.shape)
            image_io.write(folder / name / f"{number}.{suffix}", np.clip(coarse + noise, 0, 255).astype(np.uint8))


def seconds(sample, count):
    began = time.process_time()
    for number in range(count):
        sample(number)
    return time.process_time() - began


def measure(name, files, load, crop, pair, rounds):
    """The row of one table line."""
    differing = check_pixels(files, load, crop, pair)
    sides = [Theirs(files, load, crop, pair).sample, *ours(files, load, crop, pair)]
    for side in sides:
        seconds(side, len(files))
    times = []
    for number in range(rounds):
        order = range(len(sides)) if number % 2 else reversed(range(len(sides)))
        turn = {side: seconds(sides[side], len(files)) for side in order}
        times.append([turn[side] for side in range(len(sides))])
    images = len(files) * (2 if pair else 1)
    speeds = [f"{images / statistics.median(row[side] for row in times):.0f}" for side in (0, 1, 3)]
    ratios = [f"{statistics.median(row[0] / row[side] for row in times):.1f}" for side in (1, 2, 3)]
    width, height = Image.open(files[0]).size
    kind = f"{width}x{height} {files[0].suffix[1:]}{', pairs' if pair else ''}"
    return [name, kind, f"{load}, {crop}", *speeds, *ratios, differing]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=61)
    parser.add_argument("--files", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as made:
        root = table.DATA if table.DATA.is_dir() else Path(made)
        if root == Path(made):
            made_pictures(root)
        rows = []
        for name, kind in KINDS.items():
            if files := images_in(root / name)[: options.files]:
                rows.append(measure(name, files, *kind, options.rounds))
                print(*rows[-1], sep="\t", flush=True)
    versions = f", Pillow {PIL.__version__}, torchvision {torchvision.__version__}, "
    versions += f"imagecodecs {imagecodecs.__version__}"
    table.leave(__file__, "From the file to the tensor", LEAD, {COLUMNS: rows}, versions)


if __name__ == "__main__":
    main()
