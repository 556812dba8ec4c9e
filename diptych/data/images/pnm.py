"""Read and write binary PNM files: .pgm (P5, grey) and .ppm (P6, colour) with 8 or 16 bits, without loss.

Pillow would drop 8 of the 16 bits of a colour file, so these files are decoded here. The maxval of the header is white:
images with a maxval other than 255 and 65535 are scaled to the full range, rounded to nearest.
"""

import math
import re
from typing import BinaryIO

import numpy as np

from diptych.data.images.alpha import white_of
from diptych.data.images.stored_file import MAX_PIXELS, check_size, read_values, remaining_bytes
from diptych.data.images.stored_values import InvalidImageError

CHANNELS = {b"P5": 1, b"P6": 3}
CHANNELS_OF = {
    ".pgm": (1,),
    ".ppm": (1, 3),
    ".pnm": (1, 3),
}  # supported numbers of channels by suffix, as in other programs
_MAX_HEADER = 4096  # bytes, comments included
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_HEADER = re.compile(rb"P[56]" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,5})\s")


def is_pnm(file: BinaryIO) -> bool:
    """Return whether `file` begins as a binary PNM; leaves it at its start."""
    start = file.read(3)
    file.seek(0)
    return start[:2] in CHANNELS and (start[2:].isspace() or start[2:] == b"#")


def pnm_header(file: BinaryIO) -> tuple[tuple[int, int, int], int]:
    """Return (H, W, C) and the value of white; leaves `file` at the first sample. Raises InvalidImageError."""
    start = file.read(_MAX_HEADER)
    header = _HEADER.match(start)
    if not header:
        raise InvalidImageError("has a damaged PNM header; export it again as PNG")
    width, height, white = map(int, header.groups())
    channels = CHANNELS[start[:2]]
    if not (width and height and 0 < white < 65536):
        raise InvalidImageError(f"has a damaged PNM header ({width}x{height}, maxval {white}); export it again as PNG")
    check_size(width * height, MAX_PIXELS)
    num_bytes = height * width * channels * (1 if white < 256 else 2)
    file.seek(header.end())
    if remaining_bytes(file) < num_bytes:
        raise InvalidImageError("is cut short: it holds fewer values than its header says; copy or export it again")
    return (height, width, channels), white


def read_pnm(file: BinaryIO, scaled: bool = True) -> np.ndarray:
    """Return the pixels (H, W, C): uint8, or uint16 if white is above 255. Raises InvalidImageError.

    If `scaled`, values are scaled to the full range of the dtype; class ids are not.
    """
    shape, white = pnm_header(file)
    stored = read_values(file, np.dtype("u1" if white < 256 else ">u2"), math.prod(shape)).reshape(shape)
    if file.read(64).strip():
        raise InvalidImageError(
            "holds more than one image, or other bytes after the last pixel; export it again as PNG"
        )
    dtype = np.dtype(np.uint8 if white < 256 else np.uint16)
    max_value = white_of(dtype)
    if white == max_value:
        return stored.astype(dtype, copy=False)
    if stored.max() > white:
        raise InvalidImageError(f"has values above the maxval of its header ({white}); export it again as PNG")
    if not scaled:
        return stored.astype(dtype, copy=False)
    table = (np.arange(white + 1, dtype=np.uint32) * max_value + white // 2) // white
    return table.astype(dtype)[stored]


def pnm_bytes(pixels: np.ndarray) -> bytes:
    """Return a PNM file of uint8 or uint16 pixels (H, W, 1) or (H, W, 3)."""
    height, width, channels = pixels.shape
    magic = "P5" if channels == 1 else "P6"
    header = f"{magic}\n{width} {height}\n{white_of(pixels.dtype)}\n"
    return header.encode() + pixels.astype(pixels.dtype.newbyteorder(">"), copy=False).tobytes()
