"""Large images as windows: `Source` is read and `Sink` is written piece by piece, so that none is held in memory whole.

File formats implement both. `ArraySource` and `ArraySink` are those of arrays, also of memory-mapped ones.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from diptych.errors import ImageError

BLOCK = 512  # height and width in pixels of the tiles and chunks of files


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
    """An image that is written in windows, in any order. It has its final name after `close` and never before.

    Writing a window again replaces its pixels. One of `close`, `pause` and `abort` is called last.
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
    def resumed(self) -> bool:
        """Whether the sink continues an output that was not completed, with the pixels written so far."""

    def write(self, top: int, left: int, pixels: np.ndarray) -> None:
        """Write a window (rows, columns, channels) of the sink's dtype. ImageError, such as for a full disk."""

    def flush(self) -> None:
        """Wait until the disk has what was written. ImageError."""

    def pause(self) -> None:
        """Close the files and keep what was written, to be continued."""

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

    resumed = False

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.height, self.width, self.channels = (int(length) for length in pixels.shape)
        self.dtype = pixels.dtype

    def write(self, top: int, left: int, pixels: np.ndarray) -> None:
        check_window(self, Window(top, left, *pixels.shape[:2]))
        self.pixels[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels

    def flush(self) -> None:
        if isinstance(self.pixels, np.memmap):
            self.pixels.flush()

    def pause(self) -> None:
        self.flush()

    def close(self) -> None:
        self.flush()

    def abort(self) -> None:
        """Leave the array as it is: it belongs to the caller."""


def blocks(height: int, width: int, side: int) -> Iterator[Window]:
    """Yield the blocks of an image in row-major order: squares of `side` pixels, smaller at the right and bottom."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Window(top, left, min(side, height - top), min(side, width - left))


def check_window(image: Source | Sink, window: Window) -> None:
    """Raise ImageError if a window is not inside an image."""
    is_inside = window.top >= 0 and window.left >= 0 and window.bottom <= image.height and window.right <= image.width
    if not is_inside or window.height < 1 or window.width < 1:
        raise ImageError(f"{window} is not inside an image of {image.width}x{image.height} pixels")
