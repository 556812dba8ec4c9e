"""A sink that keeps its pixels in a folder beside the output until all are written, so that a killed process goes on.

The folder is `.NAME.partial`; `pixels.npy` in it has the pixels written so far. Writing a block again with the same
pixels changes nothing, so blocks may be written in any order and twice. `close` writes the file from the pixels, in
bounded memory, and renames it. The file's bytes depend on the pixels and options alone.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images.nodata import avoid_nodata
from diptych.data.images.stored_file import image_errors
from diptych.errors import ImageError
from diptych.inference.formats.details import check_shape
from diptych.inference.formats.pixel_file import MAX_CHANNELS, PixelFile, create_npy, open_npy
from diptych.inference.large_images import Window, check_window
from diptych.system.atomic_files import make_folder, remove_leftovers, sync

PIXELS = "pixels.npy"
REMEDY = "free some space or change the folder, then run the same command again; what is finished is kept"

# Writes the output at a path, from all pixels; the folder is for further files and is removed afterwards.
Assemble = Callable[[Path, PixelFile, Path], None]
# Returns the valid pixels of a window of the output as a mask (height, width); None if all are.
Valid = Callable[[Window], np.ndarray | None]


def partial_folder(path: Path | str) -> Path:
    """Return the folder that has the parts of an output that is not complete. Callers may store files in it."""
    path = Path(path)
    return path.with_name(f".{path.name}.partial")


class PartialSink:
    """A sink of any format. `resumed`: an output of this shape and dtype was started, and its pixels are kept."""

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        block: int,
        assemble: Assemble,
        valid: Valid | None = None,
        nodata: float | None = None,
    ) -> None:
        self.path, self.block, self.dtype = path, block, dtype
        self.height, self.width, self.channels = shape
        self._assemble, self._valid, self._nodata = assemble, valid, nodata
        self._folder = partial_folder(path)
        with image_errors(path, "cannot be written", REMEDY):
            check_shape(*shape, most_channels=MAX_CHANNELS)
            make_folder(path.parent)
            remove_leftovers(path.parent)
            self._pixels, self.resumed = self._open(shape)

    def _open(self, shape: tuple[int, int, int]) -> tuple[PixelFile, bool]:
        """Return the pixels, and whether they are those of an output that was started."""
        stored = self._folder / PIXELS
        if stored.is_file():
            pixels = open_npy(stored, "r+b")
            if (pixels.height, pixels.width, pixels.channels) == shape and pixels.dtype == self.dtype:
                return pixels, True
            pixels.close()
        remove(self._folder)
        self._folder.mkdir()
        try:
            return create_npy(stored, shape, self.dtype), False
        except BaseException:
            remove(self._folder)
            raise

    def write(self, top: int, left: int, pixels: np.ndarray) -> None:
        """Write a window (rows, columns, channels) of the sink's dtype. A process that is killed later keeps it."""
        window = Window(top, left, *pixels.shape[:2])
        check_window(self, window)
        if pixels.dtype != self.dtype or pixels.shape[2:] != (self.channels,):
            raise ImageError(
                f"{self.path}: expected {self.dtype} with {self.channels} channels, got {pixels.dtype} {pixels.shape}"
            )
        with image_errors(self.path, "cannot be written", REMEDY):
            self._pixels.write(top, left, self._with_nodata(window, pixels))

    def _with_nodata(self, window: Window, pixels: np.ndarray) -> np.ndarray:
        """Return pixels with nodata where the source has no valid pixel, and only there."""
        if self._nodata is None or self._valid is None:
            return pixels
        pixels = avoid_nodata(pixels, self._nodata)
        valid = self._valid(window)
        return pixels if valid is None else np.where(valid[..., None], pixels, np.asarray(self._nodata, self.dtype))

    def flush(self) -> None:
        """Wait until the disk has all written pixels, so that they survive a power loss too."""
        with image_errors(self.path, "cannot be written", REMEDY):
            self._pixels.sync()

    def pause(self) -> None:
        """Close the files and keep what was written. `create_sink` with the same arguments continues it."""
        self._pixels.close()

    def close(self) -> None:
        """Write the file, give it its final name and remove the folder. After an error the folder is kept."""
        part = self._folder / self.path.name
        with image_errors(self.path, "cannot be written", REMEDY):
            try:
                remove(part)
                self._assemble(part, self._pixels, self._folder)
                sync_all(part)
                replace(part, self.path)
                sync(self.path.parent)
            except BaseException:
                remove(part)
                raise
        self.abort()

    def abort(self) -> None:
        """Remove what was written so far. Does nothing after `close`."""
        self._pixels.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists. OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace(new: Path, path: Path) -> None:
    """Rename a file or folder, and move what had the name beside `new`. OSError."""
    if path.is_dir():  # a folder cannot be replaced in one step
        former = new.with_name(f"{new.name}.former")
        remove(former)
        os.replace(path, former)
    os.replace(new, path)


def sync_all(path: Path) -> None:
    """Wait until the disk has a file, or all files below a folder. OSError."""
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        sync(file)
