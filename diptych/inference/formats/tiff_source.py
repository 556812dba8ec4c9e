"""Read windows of TIFF, BigTIFF and OME-TIFF files, tiled or in strips, in any compression that tifffile decodes."""

import weakref
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images.alpha import Kind
from diptych.data.images.ome import resolution_of
from diptych.data.images.stored_file import open_file
from diptych.data.images.stored_values import InvalidImageError, in_memory, memory_dtype
from diptych.data.images.tiff_planes import MAX_CHANNELS, alpha_of, without_alpha
from diptych.inference.formats.details import Details, check_channels, check_shape, large_extra, window_errors
from diptych.inference.formats.tiff_pages import layout_of_image, open_channels, open_tiff
from diptych.inference.large_images import Window, check_window

MAX_TEXT = 2**26  # bytes of an OME-XML
MAX_PROFILE = 2**22  # bytes of a colour profile
GEO_TAGS = (33550, 34264, 34735, 42113)  # ModelPixelScale, ModelTransformation, GeoKeyDirectory, GDAL_NODATA
CENTIMETRES = {2: 2.54, 3: 1.0}  # of a ResolutionUnit


class TiffSource:
    """The source of the image of a TIFF file, whose channels are samples, planes or pages. Raises ImageError."""

    def __init__(self, path: Path, kind: Kind = "colour") -> None:
        self.path, self._kind = path, kind
        with open_file(path), large_extra("TIFF files"):
            tiff = open_tiff(path)
            weakref.finalize(self, tiff.close)
            layout = layout_of_image(tiff)
            page, (self.height, self.width, stored) = layout.pages[0], layout.size
            check_shape(self.height, self.width, stored, MAX_CHANNELS)
            self.dtype = memory_dtype(page.dtype, kind)
            self._readers = open_channels(path, layout)
            self._alpha = alpha_of(page)
            colours = stored - bool(self._alpha)
            check_channels(colours, kind)
            if sum(reader.channels for reader in self._readers) != stored:
                raise InvalidImageError("has pages in an order that is not supported; save it as OME-TIFF")
        self.channels = 4 if kind == "rgba" else colours
        self.details = tiff_details(page, alpha=kind == "rgba")

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        window = Window(top, left, height, width)
        check_window(self, window)
        with window_errors(self.path, self._pages(), window):
            parts = [reader.read(window) for reader in self._readers]
            stored = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
            return without_alpha(in_memory(stored, self._kind), self._alpha, self._kind)

    def valid(self, window: Window) -> np.ndarray | None:
        return None

    def _pages(self) -> str:
        """Return the pages of the image, for error messages."""
        return "page 0" if len(self._readers) == 1 else f"one of the {len(self._readers)} pages"


def tiff_details(page: Any, alpha: bool) -> Details:
    """Return resolution, colour profile and OME-XML of a page. Damaged ones are ignored."""
    profile, text = page.tags.valueof(34675), page.description
    is_profile = isinstance(profile, bytes) and 128 <= len(profile) <= MAX_PROFILE
    text = text if page.is_ome and len(text) <= MAX_TEXT else None
    resolution = resolution_of(text) or _resolution(page)
    return Details(resolution, profile if is_profile else None, text, alpha=alpha)


def _resolution(page: Any) -> tuple[float, float] | None:
    """Return pixels per centimetre; None without a unit."""
    unit = CENTIMETRES.get(int(page.tags.valueof(296, 2)))
    values = page.tags.valueof(282), page.tags.valueof(283)
    try:
        x, y = (numerator / denominator / (unit or 0) for numerator, denominator in values)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 0 < x < 1e9 and 0 < y < 1e9 else None
