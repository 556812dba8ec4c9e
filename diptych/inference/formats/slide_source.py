"""Read windows of whole-slide files (SVS, NDPI, MRXS, ...) at full resolution, with OpenSlide or tiffslide.

OpenSlide is used if `openslide-python` is installed, as it reads more formats; else tiffslide of the extra `large`.
"""

import importlib.util
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images.alpha import Kind, convert_alpha
from diptych.data.images.stored_file import open_file
from diptych.inference.formats.details import Details, check_shape, large_extra, window_errors
from diptych.inference.large_images import Window, check_window

SLIDE_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu")
MICROMETRES = 1e4  # of a centimetre


class SlideSource:
    """The source of level 0 of a slide: uint8 RGB. Regions without pixels are white, or transparent in RGBA."""

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, kind: Kind = "colour") -> None:
        self.path, self._kind = path, kind
        self.channels = 4 if kind == "rgba" else 3
        with open_file(path), large_extra("whole-slide files"):
            self._slide = open_slide(path)
            weakref.finalize(self, self._slide.close)
            self.width, self.height = map(int, self._slide.dimensions)
            check_shape(self.height, self.width, self.channels)
            self.details = Details(_resolution(self._slide.properties), alpha=kind == "rgba")

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        window = Window(top, left, height, width)
        check_window(self, window)
        with window_errors(self.path, "level 0", window):
            region = self._slide.read_region((left, top), 0, (width, height))
            samples = np.array(region)
            return np.ascontiguousarray(convert_alpha(samples, self._kind))

    def valid(self, window: Window) -> np.ndarray | None:
        return None


def open_slide(path: Path) -> Any:
    """Return the slide, opened by OpenSlide if it is installed, else by tiffslide. Raises their errors."""
    if importlib.util.find_spec("openslide"):
        import openslide

        return openslide.OpenSlide(path)
    import tiffslide

    return tiffslide.TiffSlide(path)


def _resolution(properties: Any) -> tuple[float, float] | None:
    """Return pixels per centimetre; None if the slide does not say it."""
    for vendor in ("openslide", "tiffslide"):
        values = properties.get(f"{vendor}.mpp-x"), properties.get(f"{vendor}.mpp-y")
        try:
            x, y = (MICROMETRES / float(value) for value in values)
        except (TypeError, ValueError, ZeroDivisionError):
            continue
        if 0 < x < 1e9 and 0 < y < 1e9:
            return x, y
    return None
