"""Damaged files of every format, for a number of seconds: pixels or an ImageError must come out, within two seconds.

python tests/helpers/fuzz.py --seconds 300      # exit code 1, and the files in --keep, if anything else came out
"""

import argparse
import collections
import faulthandler
import io
import sys
import tempfile
import time
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
from pictures import DEEP, GREY, RGB, RNG, png, pnm, saved, tiff
from PIL import Image

from diptych.data.images.image_io import Header, probe, read
from diptych.errors import ImageError

SLOW = 2.0  # seconds that one file may take


@lru_cache
def examples() -> dict[str, bytes]:
    """One small file of each format and way of storing, by a name that ends as such files do."""
    npy = io.BytesIO()
    np.save(npy, RGB)
    picture, grey = Image.fromarray(RGB), Image.fromarray(GREY[..., 0])
    rgba = RNG.integers(0, 256, (6, 7, 4), np.uint8)
    turned = Image.Exif()
    turned[274] = 6
    made = {f"{format}.png": saved(picture, format) for format in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")}
    made |= {"grey.png": saved(Image.fromarray(DEEP[..., 0]), "PNG"), "deep.png": png(DEEP, 2, 16)}
    made |= {f"{c}.tif": saved(picture, "TIFF", compression=c) for c in ("packbits", "tiff_lzw", "tiff_adobe_deflate")}
    made |= {"lossless.webp": saved(picture, "WEBP", lossless=True), "deep.tif": tiff(DEEP, 2), "a.npy": npy.getvalue()}
    made |= {"rgba.png": saved(Image.fromarray(rgba), "PNG"), "interlaced.png": png(RGB, 2, interlaced=True)}
    made |= {
        "palette.png": saved(picture.quantize(4), "PNG", transparency=1),
        "bit.png": saved(grey.convert("1"), "PNG"),
    }
    made |= {"turned.jpg": saved(picture, "JPEG", exif=turned), "grey.jpg": saved(grey, "JPEG")}
    made |= {
        "progressive.jpg": saved(picture, "JPEG", progressive=True),
        "cmyk.jpg": saved(picture.convert("CMYK"), "JPEG"),
    }
    made |= {"palette.bmp": saved(picture.quantize(4), "BMP"), "jpeg.tif": saved(picture, "TIFF", compression="jpeg")}
    made |= {"alpha.webp": saved(Image.fromarray(rgba), "WEBP"), "rgba.tif": saved(Image.fromarray(rgba), "TIFF")}
    made |= {"a.pgm": pnm(GREY), "deep.ppm": pnm(DEEP), "twelve.pgm": pnm(DEEP[..., :1] & 4095, 4095)}
    return made | {
        "swapped.tif": tiff(DEEP.astype(">u2"), 2, deflate=True),
        "group4.tif": saved(grey.convert("1"), "TIFF", compression="group4"),
    }


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, a number of the header made extreme, a stretch cut, doubled, or brought from elsewhere."""
    raw = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        kind, place = rng.integers(6), int(rng.integers(len(raw) or 1))
        length = int(rng.integers(1, 40))
        if kind < 2 and raw:
            raw[place] = rng.integers(256) if kind else raw[place] ^ 1 << int(rng.integers(8))
        elif kind == 2:
            extreme = rng.choice([0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 10_000])
            raw[place : place + 4] = int(extreme).to_bytes(4, rng.choice(["big", "little"]))
        elif kind == 3:
            del raw[place : place + length]
        elif kind == 4:
            raw[place:place] = raw[place : place + length]
        else:
            raw[place : place + length] = raw[(start := int(rng.integers(len(raw) or 1))) : start + length]
    return bytes(raw)


def wrong(path: Path) -> str:
    """What came out of the file that should not, in words; empty if nothing."""
    began = time.process_time()  # other programs do not count; what never ends is left to faulthandler
    try:
        pixels = read(path)
        if probe(path) != Header(*pixels.shape, pixels.dtype.name):
            return f"probe says {probe(path)}, read gives {pixels.shape} of {pixels.dtype}"
        outcome = "" if pixels.dtype in (np.uint8, np.uint16, np.float32) and pixels.size else f"gives {pixels.dtype}"
    except ImageError as error:
        outcome = "" if str(error).startswith(f"{path}: ") else f"does not name the file: {error}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        outcome = f"raises {type(error).__name__}: {error}"
    took = time.process_time() - began
    return outcome or (f"takes {took:.1f} s" if took > SLOW else "")


def fuzz(seconds: float, seed: int, folder: Path) -> tuple[collections.Counter[str], dict[str, str]]:
    """How many files were tried, and how many of them read, by example; and what went wrong, by name of the file."""
    tried: collections.Counter[str] = collections.Counter()
    found: dict[str, str] = {}
    files, rng, stop = examples(), np.random.default_rng(seed), time.monotonic() + seconds
    while time.monotonic() < stop:
        faulthandler.dump_traceback_later(120, exit=True)
        for name, data in files.items():
            path = folder / name
            path.write_bytes(damaged(data, rng))
            tried[name] += 1
            if (problem := wrong(path)) and len(found) < 50:
                kept = folder / f"found{len(found)}_{name}"
                kept.write_bytes(path.read_bytes())
                found[str(kept)] = problem
    faulthandler.cancel_dump_traceback_later()
    return tried, found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=None)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of damaged metadata; as errors they would hide what follows
    folder = options.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    tried, found = fuzz(options.seconds, options.seed, folder)
    print(f"{sum(tried.values())} damaged files of {len(tried)} kinds, {len(found)} with a wrong outcome")
    for name, problem in found.items():
        print(f"{name}: {problem}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
