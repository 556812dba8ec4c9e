"""Read windows of TIFF, BigTIFF and OME-TIFF files, tiled or in strips, in any compression that tifffile decodes."""

import math
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images.alpha import Kind
from diptych.data.images.decode import InvalidImageError, open_file
from diptych.data.images.ome import resolution_of
from diptych.data.images.stored_values import in_memory, memory_dtype
from diptych.data.images.tiff_planes import alpha_of, check_segment, check_segments, page_problem, without_alpha
from diptych.inference.formats.details import (
    Details,
    check_shape,
    large_extra,
    window_errors,
)
from diptych.inference.formats.pixel_file import PixelFile
from diptych.inference.large_images import Window, check_window

CACHE_BYTES = 2**28  # decoded strips and tiles in memory, so that neighbouring windows decode each of them once
MAX_TEXT = 2**26  # bytes of an OME-XML
MAX_PROFILE = 2**22  # bytes of a colour profile
GEO_TAGS = (33550, 34264, 34735, 42113)  # ModelPixelScale, ModelTransformation, GeoKeyDirectory, GDAL_NODATA
CENTIMETRES = {2: 2.54, 3: 1.0}  # of a ResolutionUnit


class TiffSource:
    """The source of the first image of a TIFF file. Raises ImageError for layouts that are not supported."""

    def __init__(self, path: Path, kind: Kind = "colour") -> None:
        self.path, self._kind = path, kind
        with open_file(path), large_extra("TIFF files"):
            page = first_page(path)
            weakref.finalize(self, page.parent.close)
            check_layout(page, kind)
            check_segments(page, path.stat().st_size)
            self._page, self._uncompressed = page, _contiguous(path, page)
            if not self._uncompressed:
                name = "tile" if page.is_tiled else "strip"
                check_segment((*page.chunks[:2], page.samplesperpixel), page.dtype, name)
        self.height, self.width = page.imagelength, page.imagewidth
        self.dtype = memory_dtype(page.dtype, kind)
        self._alpha = alpha_of(page)
        colours = page.samplesperpixel - bool(self._alpha)
        self.channels = 4 if kind == "rgba" else colours
        self.details = tiff_details(page, alpha=kind == "rgba")
        self._decoded: OrderedDict[int, np.ndarray] = OrderedDict()
        self._decoded_bytes = 0

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        window = Window(top, left, height, width)
        check_window(self, window)
        with window_errors(self.path, "page 0", window):
            stored = self._uncompressed.read(window) if self._uncompressed else self._from_segments(window)
            return without_alpha(in_memory(stored, self._kind), self._alpha, self._kind)

    def valid(self, window: Window) -> np.ndarray | None:
        return None

    def _from_segments(self, window: Window) -> np.ndarray:
        """Return a window, composed of strips or tiles."""
        page = self._page
        rows, columns = page.chunks[0], page.chunks[1]
        pixels = np.empty((window.height, window.width, page.samplesperpixel), page.dtype)
        for i in range(window.top // rows, -(-window.bottom // rows)):
            for j in range(window.left // columns, -(-window.right // columns)):
                segment = self._segment(i * page.chunked[1] + j)
                top, left = max(i * rows, window.top), max(j * columns, window.left)
                part = segment[
                    top - i * rows : window.bottom - i * rows, left - j * columns : window.right - j * columns
                ]
                y, x = top - window.top, left - window.left
                pixels[y : y + part.shape[0], x : x + part.shape[1]] = part
        return pixels

    def _segment(self, index: int) -> np.ndarray:
        """Return the decoded strip or tile (rows, columns, samples), cut at the borders of the image."""
        if index in self._decoded:
            self._decoded.move_to_end(index)
            return self._decoded[index]
        segment = self._decode(index)
        self._decoded[index] = segment
        self._decoded_bytes += segment.nbytes
        while self._decoded_bytes > CACHE_BYTES and len(self._decoded) > 1:
            self._decoded_bytes -= self._decoded.popitem(last=False)[1].nbytes
        return segment

    def _decode(self, index: int) -> np.ndarray:
        page, count = self._page, self._page.databytecounts[index]
        file = page.parent.filehandle
        file.seek(page.dataoffsets[index])
        data = file.read(count) if count else None  # None: a tile that is not stored has the value of nodata
        if data is not None and len(data) != count:
            raise InvalidImageError("is cut short; copy or save it again")
        decoded, _, shape = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)
        if decoded is None:
            return np.full(shape[1:], page.nodata, page.dtype)
        if decoded.shape != shape:
            raise InvalidImageError(f"has a segment of {decoded.size:,} samples; expected {math.prod(shape):,}")
        return np.asarray(decoded[0])


def first_page(path: Path) -> Any:
    """Return the first page of a TIFF. Raises tifffile's exceptions, InvalidImageError for a stack of pages."""
    import tifffile

    file = tifffile.TiffFile(path)
    try:
        page: Any = file.pages[0]
        if len(file.pages) > 1:
            second: Any = file.pages[1].aspage()
            same_shape = second.shape == page.shape and second.dtype == page.dtype
            if same_shape and not second.is_reduced and second.subfiletype == page.subfiletype:
                raise InvalidImageError("has several pages of one size; save one image a file, channels as samples")
    except BaseException:
        file.close()
        raise
    return page


def _contiguous(path: Path, page: Any) -> PixelFile | None:
    """Return the pixels of an uncompressed image in strips without gaps, which needs no decoding; None for others."""
    is_uncompressed = page.compression == 1 and page.predictor == 1 and page.fillorder == 1
    if not is_uncompressed or page.is_tiled or not page.is_contiguous:
        return None
    shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
    return PixelFile(path, shape, page.dtype.newbyteorder(page.parent.byteorder), page.dataoffsets[0], "rb")


def check_layout(page: Any, kind: Kind) -> None:
    """Raise InvalidImageError for samples that are not grey, RGB or RGB with one more channel, interleaved."""
    check_shape(page.imagelength, page.imagewidth, page.samplesperpixel)
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        raise InvalidImageError("has separate planes of samples; save it with interleaved (contiguous) samples")
    if problem := page_problem(page):
        raise InvalidImageError(problem)
    memory_dtype(page.dtype, kind)


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
