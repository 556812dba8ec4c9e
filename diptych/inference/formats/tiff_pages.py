"""Read windows of the pages of a TIFF: decoded strips and tiles, or uncompressed pixels in place."""

import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images.stored_values import InvalidImageError
from diptych.data.images.tiff_planes import Layout, check_page, check_segment, layout_of
from diptych.inference.formats.pixel_file import PixelFile
from diptych.inference.large_images import Window

CACHE_BYTES = 2**28  # decoded strips and tiles in memory, so that neighbouring windows decode each of them once


def open_tiff(path: Path) -> Any:
    """Return a tifffile.TiffFile; other files that an OME-XML names are not opened. Raises tifffile's errors."""
    import tifffile

    return tifffile.TiffFile(path, _multifile=False)


def layout_of_image(tiff: Any) -> Layout:
    """Return the layout of the first image, of which pages of one size are channels. Raises InvalidImageError.

    Without such pages it is the first page alone: others are reduced, or of another size as the label of a slide.
    """
    first = tiff.pages[0]
    if tiff.is_imagej or (len(tiff.pages) > 1 and _is_channel(tiff.pages[1].aspage(), first)):
        return layout_of(tiff)
    return Layout(first.axes, first.shape, (first,), None)


def _is_channel(page: Any, first: Any) -> bool:
    same_shape = page.shape == first.shape and page.dtype == first.dtype
    return same_shape and not page.is_reduced and page.subfiletype == first.subfiletype


def open_channels(path: Path, layout: Layout) -> "list[PixelFile | PageReader]":
    """Return what reads the channels of an image, in order, after a check of its pages. Raises InvalidImageError."""
    cache, size = SegmentCache(), path.stat().st_size
    for page in layout.pages:
        check_page(page, size)
    first = _contiguous(path, layout.pages[0])
    if len(layout.pages) == 1 and first and layout.size[2] > first.channels:  # ImageJ lists one page for all planes
        planes = layout.size[2] // first.channels
        return [first, *(first.at(first.offset + number * first.nbytes) for number in range(1, planes))]
    others = [_contiguous(path, page, first) for page in layout.pages[1:]]
    readers = zip([first, *others], layout.pages, strict=True)
    return [pixels or PageReader(page, number, cache) for number, (pixels, page) in enumerate(readers)]


def _contiguous(path: Path, page: Any, like: PixelFile | None = None) -> PixelFile | None:
    """Return the pixels of an uncompressed page in strips without gaps, which needs no decoding; None for others.

    `like` are those of a page of the same shape, whose open file they share.
    """
    is_uncompressed = page.compression == 1 and page.predictor == 1 and page.fillorder == 1
    if not is_uncompressed or page.is_tiled or not page.is_contiguous or _planes_of(page) > 1:
        return None
    if like:
        return like.at(page.dataoffsets[0])
    shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
    return PixelFile(path, shape, page.dtype.newbyteorder(page.parent.byteorder), page.dataoffsets[0], "rb")


def _planes_of(page: Any) -> int:
    """Return the number of separate planes of samples of a page; 1 if its samples are interleaved."""
    return int(page.samplesperpixel) if page.planarconfig == 2 else 1


class SegmentCache:
    """The strips and tiles that were used last, of all pages of an image."""

    def __init__(self) -> None:
        self._segments: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[int, int]) -> np.ndarray | None:
        if key in self._segments:
            self._segments.move_to_end(key)
        return self._segments.get(key)

    def put(self, key: tuple[int, int], segment: np.ndarray) -> None:
        self._segments[key] = segment
        self._bytes += segment.nbytes
        while self._bytes > CACHE_BYTES and len(self._segments) > 1:
            self._bytes -= self._segments.popitem(last=False)[1].nbytes


class PageReader:
    """A page in strips or tiles, with interleaved samples or planes of samples."""

    def __init__(self, page: Any, number: int, cache: SegmentCache) -> None:
        self.channels, self._planes = int(page.samplesperpixel), _planes_of(page)
        self._page, self._number, self._cache = page, number, cache
        self._rows, self._columns = page.chunks[:2]
        self._across = math.ceil(page.imagewidth / self._columns)
        self._in_plane = math.ceil(page.imagelength / self._rows) * self._across
        samples = self.channels // self._planes
        check_segment((self._rows, self._columns, samples), page.dtype, "tile" if page.is_tiled else "strip")

    def read(self, window: Window) -> np.ndarray:
        """Return a window (height, width, channels), composed of strips or tiles."""
        planes = [self._read_plane(window, plane) for plane in range(self._planes)]
        return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)

    def _read_plane(self, window: Window, plane: int) -> np.ndarray:
        rows, columns = self._rows, self._columns
        pixels = np.empty((window.height, window.width, self.channels // self._planes), self._page.dtype)
        for i in range(window.top // rows, -(-window.bottom // rows)):
            for j in range(window.left // columns, -(-window.right // columns)):
                segment = self._segment(plane * self._in_plane + i * self._across + j)
                top, left = max(i * rows, window.top), max(j * columns, window.left)
                part = segment[
                    top - i * rows : window.bottom - i * rows, left - j * columns : window.right - j * columns
                ]
                y, x = top - window.top, left - window.left
                pixels[y : y + part.shape[0], x : x + part.shape[1]] = part
        return pixels

    def _segment(self, index: int) -> np.ndarray:
        """Return the decoded strip or tile (rows, columns, samples), cut at the borders of the image."""
        segment = self._cache.get((self._number, index))
        if segment is None:
            segment = self._decode(index)
            self._cache.put((self._number, index), segment)
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
