"""Large images as windows: `Source` is read and `Sink` is written piece by piece, so that none is held in memory whole.

File formats implement both. `ArraySource` and `ArraySink` are those of arrays, also of memory-mapped ones.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from diptych.errors import ImageError

BLOCK = 512  # height and width in pixels of the blocks of a sink, if its format has no own


class Window(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def right(self) -> int:
        return self.left + self.width


class Source(Protocol):
    """An image that is read in windows. It is used by one thread at a time."""

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8, uint16 or float32, as `data.images.image_io` reads ordinary files."""

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Return the pixels (height, width, channels) of a window inside the image. Raises ImageError."""


class Sink(Protocol):
    """An image that is written in blocks. It has its final name after `close` and never before.

    `write` is called once for each block, in row-major order: blocks start at multiples of `block` and have `block`
    rows and columns, fewer at the right and the bottom. The order and the blocks never depend on the size of the tiles
    that a translation uses. Either `close` or `abort` is called last.
    """

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def block(self) -> int:
        """The height and width of blocks in pixels."""

    def write(self, top: int, left: int, pixels: np.ndarray) -> None:
        """Write a block (rows, columns, channels) of the sink's dtype. ImageError, such as for a full disk."""

    def close(self) -> None:
        """Complete the image and give it its final name. Raises ImageError."""

    def abort(self) -> None:
        """Remove what was written. Does nothing after `close`."""


class ArraySource:
    """The source of an array (H, W, C), also of a memory-mapped one."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.height, self.width, self.channels = (int(length) for length in pixels.shape)
        self.dtype = pixels.dtype

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        check_window(self, Window(top, left, height, width))
        return np.array(self.pixels[top : top + height, left : left + width])


class ArraySink:
    """The sink of an array (H, W, C), also of a memory-mapped one, which `write` fills."""

    def __init__(self, pixels: np.ndarray, block: int = BLOCK) -> None:
        self.pixels, self.block = pixels, block
        self.height, self.width, self.channels = (int(length) for length in pixels.shape)
        self.dtype = pixels.dtype

    def write(self, top: int, left: int, pixels: np.ndarray) -> None:
        check_window(self, Window(top, left, *pixels.shape[:2]))
        self.pixels[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels

    def close(self) -> None:
        if isinstance(self.pixels, np.memmap):
            self.pixels.flush()

    def abort(self) -> None:
        self.pixels[...] = 0


def blocks(height: int, width: int, side: int) -> Iterator[Window]:
    """Yield the blocks of an image in row-major order: squares of `side` pixels, smaller at the right and bottom."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Window(top, left, min(side, height - top), min(side, width - left))


def copy_blocks(source: Source, sink: Sink) -> None:
    """Write all of `source` to `sink`, and close it. An error aborts the sink."""
    try:
        for window in blocks(sink.height, sink.width, sink.block):
            sink.write(window.top, window.left, source.read(*window))
        sink.close()
    except BaseException:
        sink.abort()
        raise


def check_window(image: Source | Sink, window: Window) -> None:
    """Raise ImageError if a window is not inside an image."""
    is_inside = window.top >= 0 and window.left >= 0 and window.bottom <= image.height and window.right <= image.width
    if not is_inside or window.height < 1 or window.width < 1:
        raise ImageError(f"{window} is not inside an image of {image.width}x{image.height} pixels")
