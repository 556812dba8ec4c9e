"""Ordinary image files (PNG, JPEG, WebP, ...): decoded and encoded at once, as their formats have no windows."""

from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images import image_io
from diptych.data.images.alpha import Kind
from diptych.data.images.metadata import Metadata, read_metadata
from diptych.data.images.stored_file import MAX_PIXELS
from diptych.data.images.stored_values import InvalidImageError
from diptych.inference.formats.details import Details
from diptych.inference.formats.pixel_file import PixelFile
from diptych.inference.large_images import ArraySource, Window

INCH = 2.54  # centimetres


class ImageFileSource(ArraySource):
    """The source of an ordinary image of at most MAX_PIXELS pixels, held in memory."""

    def __init__(self, path: Path, kind: Kind = "colour") -> None:
        super().__init__(image_io.read(path, kind))
        metadata = read_metadata(path)
        resolution = (metadata.dpi[0] / INCH, metadata.dpi[1] / INCH) if metadata.dpi else None
        self.details = Details(resolution, metadata.profile, alpha=kind == "rgba")

    def valid(self, window: Window) -> np.ndarray | None:
        return None


def check_image(path: Path, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
    """Raise InvalidImageError if the format of `path` does not support such pixels."""
    suffixes = image_io.suffixes_for(dtype, shape[2])
    if path.suffix.lower() not in suffixes:
        raise InvalidImageError(f"this suffix does not support {dtype} with {shape[2]} channels; use {suffixes[0]}")
    if shape[0] * shape[1] > MAX_PIXELS:
        raise InvalidImageError(f"{shape[1]}x{shape[0]} pixels are too many for this format; use .tif")


def write_image(path: Path, pixels: PixelFile, details: Details) -> None:
    """Write all pixels as an ordinary image."""
    dpi = (details.resolution[0] * INCH, details.resolution[1] * INCH) if details.resolution else None
    values = pixels.read(Window(0, 0, pixels.height, pixels.width))
    image_io.write(path, values, Metadata(details.profile, dpi, size=(pixels.width, pixels.height)))
