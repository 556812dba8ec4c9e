"""Inspect one image file: its hash, shape and dtype, a perceptual hash, value range, and problems.

As a worker (`python -m diptych.data.checks.inspect_file`) it reads paths from stdin and writes one line of JSON for
each to stdout: a decoder that crashes or hangs ends only this process. It does not import torch.
"""

import json
import signal
import stat
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diptych.data.images import image_io, metadata
from diptych.data.images.georeference import georeference_of
from diptych.errors import ImageError
from diptych.system.hashes import sha256_of

MAX_BYTES = 4 * 2**30  # file size; the largest array that `image_io` reads has 3.2 GB
MAX_VALUES = 64  # distinct values of a grey image are listed up to this number: a photograph has more
READY = "ready"  # the first line that a worker writes
_SUFFIXES = {
    b"\x89PNG": (".png",),
    b"\xff\xd8\xff": (".jfif", ".jpg", ".jpeg"),
    b"RIFF": (".webp",),
    b"BM": (".bmp",),
    b"II": (".tif", ".tiff"),
    b"MM": (".tif", ".tiff"),
    b"P5": (".ppm", ".pnm", ".pgm"),  # libraries also write grey images to .ppm
    b"P6": (".pnm", ".ppm"),
}


class FileInfo(NamedTuple):  # a tuple is created twice as fast as a dataclass, and a scan creates 100,000 of them
    """The content of one file. With a problem, the other fields may be unknown."""

    sha256: str | None = None
    height: int = 0
    width: int = 0
    channels: int = 0
    dtype: str = ""
    difference_hash: str | None = None  # 256 bits in hexadecimal, by the function `difference_hash`
    problem: str | None = None
    note: str | None = None
    low: float | None = None  # smallest pixel value, in the units of `dtype`
    high: float | None = None  # largest pixel value
    values: list[int] | None = None  # distinct pixel values of an integer image of one channel, if at most 64
    indices: list[int] | None = None  # distinct palette indices of an image with a palette, if at most 64
    transparent: bool | None = None  # whether a pixel is not opaque
    profile: str | None = None  # name of a colour profile other than sRGB
    stored_dtype: str | None = None  # dtype of the stored values, which a declared range refers to
    needs_range: str | None = None  # why a range must be declared, and how; then `dtype` is that of stored values
    invalid: int = 0  # number of pixels without data, which do not count in `low` and `high`
    crs: str | None = None  # of a georeferenced image
    transform: tuple[float, ...] | None = None  # six numbers from (column, row) to its CRS


def inspect_file(path: Path | str) -> FileInfo:
    """Read and decode a file. Any problem is reported in `problem`; nothing is raised."""
    path, sha256 = Path(path), None
    try:
        sha256 = hash_of(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about damaged metadata; only the pixels matter here
            header = image_io.probe(path, "values")
            needs_range = None
            try:
                array, transparent = _colours_of(path, header)
            except ImageError as error:
                array, transparent = image_io.read(path, "values"), False
                needs_range = str(error).removeprefix(f"{path}: ")
            indices = values_of(image_io.read(path, "ids")) if header.palette else None
            profile = metadata.profile_name(metadata.read_metadata(path).profile)
            valid, georeference = image_io.valid_pixels(path), georeference_of(path)
        height, width, channels = array.shape
        known = array if valid is None or valid.all() else array[valid]
        return FileInfo(
            sha256,
            height,
            width,
            channels,
            array.dtype.name,
            difference_hash(array if valid is None else _without_nodata(array, valid)),
            note=_suffix_note(path),
            low=float(known.min()) if known.size else None,
            high=float(known.max()) if known.size else None,
            values=values_of(array),
            indices=indices,
            transparent=transparent,
            profile=profile,
            stored_dtype=header.dtype,
            needs_range=needs_range,
            invalid=0 if valid is None else int((~valid).sum()),
            crs=georeference.crs if georeference else None,
            transform=georeference.transform if georeference else None,
        )
    except ImageError as error:
        return FileInfo(sha256, problem=str(error).removeprefix(f"{path}: "))
    except OSError as error:
        return FileInfo(sha256, problem=f"cannot be read ({error.strerror}); check its permissions and the disk")
    except MemoryError:
        return FileInfo(sha256, problem="does not fit into memory; scale it down or cut it into pieces")


def _without_nodata(array: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return an image (H, W, C) with its least valid value where `valid` (H, W) is false."""
    least = array[valid].min() if valid.any() else array.dtype.type(0)
    return np.where(valid[..., None], array, least)


def _colours_of(path: Path, header: image_io.Header) -> tuple[np.ndarray, bool]:
    """Return the pixels as `image_io.read` does, and whether any is not opaque; the file is decoded once."""
    if not header.alpha:
        return image_io.read(path), False
    rgba = image_io.read(path, "rgba")
    array, opaque = image_io.over_white(rgba)[..., : header.channels], rgba.dtype.type(image_io.white_of(rgba.dtype))
    return array, bool((rgba[..., 3] < opaque).any())


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a regular file. Raises ImageError for other files, OSError if it cannot be read."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        problem = "is a link to a file that does not exist" if path.is_symlink() else "there is no such file"
        raise ImageError(f"{path}: {problem}; put the file back, or remove it from the set") from error
    if not stat.S_ISREG(status.st_mode):
        problem = "is a folder, not an image" if stat.S_ISDIR(status.st_mode) else "is not a regular file"
        raise ImageError(f"{path}: {problem}; rename or remove it")
    if not status.st_size:
        raise ImageError(f"{path}: is empty (0 bytes); copy it again, or remove it")
    if status.st_size > MAX_BYTES:
        raise ImageError(f"{path}: is too large (more than 4 GiB); scale it down or cut it into pieces")
    return sha256_of(path)


def difference_hash(array: np.ndarray) -> str:
    """Return a perceptual hash of an image: one bit for each of 16 x 16 cells, 1 if brightness increases to the right.

    Increases of less than 1 % of the range count as 0, so that JPEG noise in a uniform area sets no bits. Stored values
    without black and white have the range of the image.
    """
    grey = image_io.resize(_in_unit_range(array), 16, 17).mean(axis=2, dtype=np.float64)
    grey /= image_io.white_of(array.dtype) if array.dtype.kind == "u" else 1
    return np.packbits(np.diff(grey, axis=1) > 0.01).tobytes().hex()


def _in_unit_range(array: np.ndarray) -> np.ndarray:
    """Return floats in 0..1 and unsigned integers as they are, and other values scaled to 0..1 as float32."""
    low, high = array.min(), array.max()
    if array.dtype.kind == "u" or (array.dtype.kind == "f" and low >= 0 and high <= 1):
        return array
    scaled = (array.astype(np.float64) - low) / max(float(high) - float(low), 1e-30)
    return scaled.astype(np.float32)


def values_of(array: np.ndarray) -> list[int] | None:
    """Return the sorted distinct values of a uint8 or uint16 image (H, W, 1); None if there are more than 64."""
    if array.shape[2] != 1 or array.dtype.kind != "u":
        return None
    values = np.flatnonzero(np.bincount(array.reshape(-1)))
    return [int(value) for value in values] if len(values) <= MAX_VALUES else None


def _suffix_note(path: Path) -> str | None:
    """Return a note if the suffix is that of another format than the content; such files are read by their content."""
    if path.suffix.lower() == ".npy":
        return None
    with path.open("rb") as file:
        start = file.read(4)
    suffixes = next((suffixes for magic, suffixes in _SUFFIXES.items() if start.startswith(magic)), ("",))
    return None if path.suffix.lower() in suffixes else f"is a {suffixes[-1][1:].upper()} file by its content"


def work() -> None:
    """Inspect files named on stdin until it ends. Ctrl-C is ignored here: the parent process handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(READY, flush=True)
    for line in sys.stdin:
        print(json.dumps(inspect_file(json.loads(line))._asdict()), flush=True)


if __name__ == "__main__":
    work()
