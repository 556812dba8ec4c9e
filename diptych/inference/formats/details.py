"""What a sink keeps of its source beside the pixels: resolution, colour profile, OME-XML and georeference."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from diptych.data.images.alpha import Kind
from diptych.data.images.stored_file import image_errors
from diptych.data.images.stored_values import InvalidImageError
from diptych.inference.large_images import Source, Window

MAX_SIDE = 2**31 - 1  # pixels; TIFF and GDAL store sides as 32-bit integers


@dataclass(frozen=True)
class Georeference:
    """Coordinate reference system as WKT (empty if missing), affine transform (a, b, c, d, e, f) and nodata value.

    (x, y) = (a * column + b * row + c, d * column + e * row + f). `nodata` is None if every pixel is valid.
    """

    crs: str = ""
    transform: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    nodata: float | None = None

    def scaled(self, rows: float, columns: float) -> "Georeference":
        """Return the georeference of an image with `rows` and `columns` times as many pixels of the same area."""
        a, b, c, d, e, f = self.transform
        return Georeference(self.crs, (a / columns, b / rows, c, d / columns, e / rows, f), self.nodata)


@dataclass(frozen=True)
class Details:
    """`resolution` is in pixels per centimetre, horizontal and vertical. `alpha`: the last channel is alpha."""

    resolution: tuple[float, float] | None = None
    profile: bytes | None = None
    ome_xml: str | None = None
    georeference: Georeference | None = None
    alpha: bool = False


NO_DETAILS = Details()


class DetailedSource(Source, Protocol):
    """A source that also has details and knows which pixels are valid."""

    @property
    def details(self) -> Details: ...

    def valid(self, window: Window) -> np.ndarray | None:
        """Return a mask (height, width) of the valid pixels; None if all are. May be called by another thread."""


@contextmanager
def large_extra(kind: str) -> Iterator[None]:
    """Convert a failed import in the block to an InvalidImageError with the command that installs the extra."""
    try:
        yield
    except ImportError as error:
        library = (error.name or "a library").partition(".")[0]
        raise InvalidImageError(f"{kind} need {library}: pip install 'diptych[large]'") from error


@contextmanager
def window_errors(path: Path, page: str, window: Window) -> Iterator[None]:
    """Convert any exception in the block to an ImageError that names the file, the page and the window."""
    rows, columns = f"rows {window.top} to {window.bottom - 1}", f"columns {window.left} to {window.right - 1}"
    problem = f"{page} cannot be read at {rows}, {columns}"
    with image_errors(path, problem, "copy or export the file again"):
        try:
            yield
        except InvalidImageError as error:
            raise InvalidImageError(f"{error}; {page}, {rows}, {columns}") from error


def check_shape(height: int, width: int, channels: int, most_channels: int = 4) -> None:
    """Raise InvalidImageError for an image without pixels, with absurd sides or too many channels."""
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise InvalidImageError(f"has {width}x{height} pixels in its header; copy or export the file again")
    if not 1 <= channels <= most_channels:
        raise InvalidImageError(f"has {channels} channels; expected 1 to {most_channels}: save them as a .npy array")


def check_channels(channels: int, kind: Kind) -> None:
    """Raise InvalidImageError for a number of channels that are no colours, if alpha is kept."""
    if kind == "rgba" and channels not in (1, 3, 4):
        raise InvalidImageError(f"has {channels} channels; with alpha=keep, 1, 3 or 4 are supported: save those alone")
