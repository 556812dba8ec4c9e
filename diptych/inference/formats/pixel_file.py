"""Uncompressed pixels in a file, row by row, as in .npy and uncompressed TIFF: any window is read and written in place.

Files are read, not memory-mapped: a mapped file that is cut short or on a full disk ends the process.
"""

import math
import os
import shutil
import weakref
from copy import copy
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images.alpha import Kind, with_alpha
from diptych.data.images.stored_file import open_file
from diptych.data.images.stored_values import InvalidImageError, in_memory, memory_dtype
from diptych.inference.formats.details import (
    NO_DETAILS,
    Details,
    check_channels,
    check_shape,
    window_errors,
)
from diptych.inference.large_images import Window, check_window

MAX_CHANNELS = 4096


class PixelFile:
    """Pixels (height, width, channels) in row-major order that start at `offset` of a file."""

    def __init__(self, path: Path, shape: tuple[int, int, int], dtype: np.dtype[Any], offset: int, mode: str) -> None:
        self.path, self.dtype, self.offset = path, dtype, offset
        self.height, self.width, self.channels = shape
        self._file = FileIO(path, mode)
        weakref.finalize(self, self._file.close)  # for callers without `close`

    @property
    def nbytes(self) -> int:
        return self.height * self.width * self.channels * self.dtype.itemsize

    def read(self, window: Window) -> np.ndarray:
        """Return the pixels (height, width, channels) of a window. InvalidImageError for a short file."""
        pixels = np.empty((window.height, window.width, self.channels), self.dtype)
        for position, rows in self._runs(window, pixels):
            self._file.seek(position)
            while len(rows):
                count = self._file.readinto(rows)
                if not count:
                    raise InvalidImageError("is cut short: it ends before its last pixel; copy or save it again")
                rows = rows[count:]
        return pixels

    def write(self, top: int, left: int, pixels: np.ndarray) -> None:
        """Write pixels (rows, columns, channels). OSError, for example for a full disk."""
        stored = np.ascontiguousarray(pixels, self.dtype)
        for position, rows in self._runs(Window(top, left, *pixels.shape[:2]), stored):
            self._file.seek(position)
            while len(rows):
                rows = rows[self._file.write(rows) :]

    def at(self, offset: int) -> "PixelFile":
        """Return pixels of the same shape at another offset of the open file, which is closed with these ones."""
        other = copy(self)
        other.offset = offset
        return other

    def _runs(self, window: Window, pixels: np.ndarray) -> list[tuple[int, memoryview]]:
        """Return each contiguous run of bytes of a window: its position in the file and its part of `pixels`."""
        pixel = self.channels * self.dtype.itemsize
        data = memoryview(pixels.reshape(-1).view(np.uint8).data)
        start = self.offset + (window.top * self.width + window.left) * pixel
        if window.width == self.width:
            return [(start, data)]
        length = window.width * pixel
        return [
            (start + row * self.width * pixel, data[row * length : (row + 1) * length]) for row in range(window.height)
        ]

    def copy(self, path: Path) -> None:
        """Write a copy of the file. OSError."""
        shutil.copyfile(self.path, path)

    def sync(self) -> None:
        """Wait until the disk has the pixels."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def create_npy(path: Path, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> PixelFile:
    """Return the pixels of a new .npy file, all zero. Raises OSError, InvalidImageError if the disk has no space."""
    needed, free = math.prod(shape) * dtype.itemsize, shutil.disk_usage(path.parent).free
    if needed > free:
        raise InvalidImageError(
            f"needs {needed / 1e9:,.1f} GB for its pixels while it is written, {free / 1e9:,.1f} GB are free; "
            "free some space, or write to another disk"
        )
    new = path.with_name(f"{path.name}.new")  # renamed when complete, so that a kill leaves no short file
    with open(new, "wb") as file:
        layout = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, layout)
        file.truncate(file.tell() + needed)
    os.replace(new, path)
    return open_npy(path, "r+b")


def open_npy(path: Path, mode: str = "rb") -> PixelFile:
    """Return the pixels of a .npy file of (H, W) or (H, W, C). Raises InvalidImageError."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with open(path, "rb") as file:
        shape, by_columns, dtype = readers[np.lib.format.read_magic(file)](file)
        offset = file.tell()
    memory_dtype(dtype, "values")
    if len(shape) not in (2, 3):
        raise InvalidImageError(f"has the shape {shape}; save it as (H, W) or (H, W, C)")
    full = (shape[0], shape[1], shape[2] if len(shape) == 3 else 1)
    check_shape(*full, most_channels=MAX_CHANNELS)
    if by_columns:
        raise InvalidImageError("is in Fortran order; save it again with numpy.ascontiguousarray")
    if path.stat().st_size < offset + math.prod(full) * dtype.itemsize:
        raise InvalidImageError("is cut short: it holds fewer values than its header says; copy or save it again")
    return PixelFile(path, full, dtype, offset, mode)


class NpySource:
    """The source of a .npy file (H, W) or (H, W, C) of any dtype that `image_io.read` reads."""

    details: Details = NO_DETAILS

    def __init__(self, path: Path, kind: Kind = "colour") -> None:
        self.path, self._kind = path, kind
        with open_file(path):
            self._pixels = open_npy(path)
            check_channels(self._pixels.channels, kind)
        self.height, self.width = self._pixels.height, self._pixels.width
        self.channels = 4 if kind == "rgba" else self._pixels.channels
        self.dtype = memory_dtype(self._pixels.dtype, kind)

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        window = Window(top, left, height, width)
        check_window(self, window)
        with window_errors(self.path, "the array", window):
            pixels = in_memory(self._pixels.read(window), self._kind)
            return with_alpha(pixels) if self._kind == "rgba" else pixels

    def valid(self, window: Window) -> np.ndarray | None:
        return None
