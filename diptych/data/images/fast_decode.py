"""Decode common JPEG and PNG files by imagecodecs, if it is installed (extra `fast`): Pillow's pixels in less time.

Common are files that need no correction: complete, 8 bits, grey or RGB, no palette, and no metadata that may hold an
orientation or a transparent colour. Pillow decodes all others, and those that imagecodecs fails to decode.
"""

import struct
import zlib
from contextlib import suppress
from functools import cache
from typing import Any, BinaryIO

import numpy as np

from diptych.data.images.stored_file import remaining_bytes

MAX_BYTES = 2**28  # of a file, which is read at once
PNG_SIGNATURE, JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
PNG_CHUNKS = frozenset((b"IHDR", b"IDAT", b"IEND", b"gAMA", b"sRGB", b"cHRM", b"pHYs", b"tIME"))
JPEG_FRAMES = frozenset((0xC0, 0xC1))  # SOF of one scan. Of progressive ones, libjpeg ignores damaged further scans.
JPEG_SCAN, JPEG_END = 0xDA, b"\xff\xd9"
# Besides: tables (DHT, DQT, DRI), JFIF, an ICC profile or a comment. Not APP1 (EXIF, XMP) and APP14 (Adobe's colours).
JPEG_SEGMENTS = JPEG_FRAMES | {0xC4, 0xDB, 0xDD, 0xE0, 0xE2, 0xFE}


def decode_common(file: BinaryIO, max_pixels: int) -> np.ndarray | None:
    """Return the samples (H, W, 1 to 4) uint8 of a common file; None if Pillow has to decode it.

    With 2 or 4 channels, the last one is alpha. A file that is returned as None is at its start again.
    """
    start, samples = file.read(8), None
    find_size = _size_of_png if start == PNG_SIGNATURE else _size_of_jpeg if start.startswith(JPEG_SIGNATURE) else None
    if find_size and remaining_bytes(file) <= MAX_BYTES and (codecs := _imagecodecs()):
        data = start + file.read()
        with suppress(Exception):  # of damage: Pillow's decoding gives the reason
            height, width = find_size(data) or (0, 0)
            if 0 < height * width <= max_pixels:
                samples = (codecs.png_decode if start == PNG_SIGNATURE else codecs.jpeg8_decode)(data)
    if samples is None:
        file.seek(0)
        return None
    return samples[..., None] if samples.ndim == 2 else samples


@cache
def _imagecodecs() -> Any:
    try:
        import imagecodecs
    except ImportError:
        return None
    return imagecodecs


def _size_of_png(data: bytes) -> tuple[int, int] | None:
    """Return the height and width of a common PNG; None for any other. Raises struct.error if it is cut short."""
    width, height, depth, colours, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    if depth != 8 or colours == 3 or interlace:
        return None
    position, kind, view = len(PNG_SIGNATURE), b"", memoryview(data)
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        # Of damaged data libpng writes to the terminal, and it ignores the checksum of IEND.
        if kind not in PNG_CHUNKS or zlib.crc32(view[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return None
        position = end + 4
    return (height, width) if position == len(data) else None


def _size_of_jpeg(data: bytes) -> tuple[int, int] | None:
    """Return the height and width of a common JPEG; None for any other. Raises struct.error if it is cut short."""
    size, position = None, 2
    while (marker := struct.unpack_from(">BBH", data, position))[1] in JPEG_SEGMENTS:
        start, kind, length = marker
        if start != 0xFF or length < 2:
            return None
        if kind in JPEG_FRAMES:
            depth, height, width, components = struct.unpack_from(">BHHB", data, position + 4)
            if depth != 8 or components not in (1, 3):
                return None
            size = height, width
        position += 2 + length
    # Without its end, libjpeg fills the missing part with grey and only warns.
    is_whole = position + 2 + marker[2] < len(data) - len(JPEG_END) and data.endswith(JPEG_END)
    return size if marker[:2] == (0xFF, JPEG_SCAN) and is_whole else None
