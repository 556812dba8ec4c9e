"""Read georeferenced rasters (GeoTIFF, JPEG 2000) with rasterio, and write their georeference as tags of a TIFF."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from diptych.data.images.alpha import Kind, convert_alpha
from diptych.data.images.nodata import TAG
from diptych.data.images.stored_file import open_file
from diptych.data.images.stored_values import InvalidImageError, in_memory, lowest_value, memory_dtype
from diptych.data.images.tiff_planes import MAX_CHANNELS, check_segment
from diptych.inference.formats.details import (
    NO_DETAILS,
    Details,
    Georeference,
    check_channels,
    check_shape,
    large_extra,
    window_errors,
)
from diptych.inference.large_images import Window, check_window

# GDAL's other drivers read further files, or addresses, that a file names.
DRIVERS = MappingProxyType({".jp2": "JP2OpenJPEG"})
GEOTIFF = "GTiff"
GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737)  # scale, tie points, transformation, keys and their parameters
CACHE_BYTES = 2**28  # of GDAL's decoded blocks; its default is a twentieth of the memory
ASCII = 2


class RasterSource:
    """The source of a georeferenced raster. Invalid pixels (nodata value, mask or alpha 0) are read as `lowest_value`.

    A pixel is invalid if all bands of it are. Separate planes are read too.
    """

    def __init__(self, path: Path, kind: Kind = "colour", details: Details = NO_DETAILS) -> None:
        self.path, self._kind = path, kind
        with open_file(path), large_extra("georeferenced images"):
            self._dataset, self._masks = open_raster(path), open_raster(path)
            self._bands, self._has_alpha = _layout(self._dataset, kind)
            self._is_masked = any(flags != [_all_valid()] for flags in self._dataset.mask_flag_enums)
            georeference = _georeference(self._dataset, self._is_masked)
        self.height, self.width = self._dataset.height, self._dataset.width
        self.dtype = memory_dtype(np.dtype(self._dataset.dtypes[0]), kind)
        self.channels = 4 if kind == "rgba" else self._bands - self._has_alpha
        self.details = replace(details, georeference=georeference, alpha=kind == "rgba")

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        window = Window(top, left, height, width)
        check_window(self, window)
        with window_errors(self.path, "page 0", window), _gdal():
            stored = np.moveaxis(self._dataset.read(window=_rows_and_columns(window)), 0, 2)
            valid = self._mask(self._dataset, window)
            if valid is not None:
                stored = np.where(valid[..., None], stored, lowest_value(stored.dtype, self._kind))
            samples = in_memory(stored, self._kind)
            needs_alpha = self._kind == "rgba" and self._bands != 4
            return convert_alpha(samples, self._kind) if self._has_alpha or needs_alpha else samples

    def valid(self, window: Window) -> np.ndarray | None:
        """Return the mask of valid pixels, read with a data set of its own."""
        with window_errors(self.path, "the mask", window), _gdal():
            return self._mask(self._masks, window)

    def _mask(self, dataset: Any, window: Window) -> np.ndarray | None:
        if not self._is_masked:
            return None
        return np.asarray(dataset.dataset_mask(window=_rows_and_columns(window)) > 0)


def open_raster(path: Path) -> Any:
    """Return a rasterio data set of the file. Raises rasterio's errors."""
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # a missing transform is supported
        return rasterio.open(path.absolute(), driver=DRIVERS.get(path.suffix.lower(), GEOTIFF))


def geo_tags(georeference: Georeference) -> list[tuple[int, int, int, Any, bool]]:
    """Return the TIFF tags of a georeference, as GDAL encodes them, in the form of tifffile's `extratags`."""
    import rasterio
    import tifffile

    tags = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        profile = {"driver": "GTiff", "height": 1, "width": 1, "count": 1, "dtype": "uint8"}
        transform = rasterio.Affine(*georeference.transform)
        crs = rasterio.crs.CRS.from_wkt(georeference.crs) if georeference.crs else None
        with rasterio.MemoryFile() as memory:
            with memory.open(**profile, crs=crs, transform=transform) as dataset:
                dataset.write(np.zeros((1, 1, 1), np.uint8))
            with tifffile.TiffFile(BytesIO(memory.read())) as file:
                page: Any = file.pages[0]
                stored = [page.tags.get(code) for code in GEO_TAGS]
                tags = [(tag.code, int(tag.dtype), tag.count, tag.value, True) for tag in stored if tag is not None]
    if georeference.nodata is not None:
        text = f"{georeference.nodata:.17g}"
        tags.append((TAG, ASCII, len(text) + 1, text, True))
    return tags


def _layout(dataset: Any, kind: Kind) -> tuple[int, bool]:
    """Return the number of bands and whether the last one is alpha. Raises InvalidImageError if not supported."""
    from rasterio.enums import ColorInterp

    check_shape(dataset.height, dataset.width, dataset.count, MAX_CHANNELS)
    if len(set(dataset.dtypes)) > 1:
        raise InvalidImageError("has bands of several types; save them with one")
    memory_dtype(np.dtype(dataset.dtypes[0]), kind)
    if dataset.colorinterp[0] == ColorInterp.palette:
        raise InvalidImageError("has a palette; save it as RGB or grey")
    check_segment(dataset.block_shapes[0], np.dtype(dataset.dtypes[0]), "block")
    has_alpha = dataset.count in (2, 4) and dataset.colorinterp[-1] == ColorInterp.alpha
    check_channels(dataset.count - has_alpha, kind)
    return dataset.count, has_alpha


def _georeference(dataset: Any, is_masked: bool) -> Georeference:
    """Return the georeference of a data set; its nodata value is 0 if it has a mask or alpha instead of a value."""
    crs = dataset.crs.to_wkt() if dataset.crs else ""
    nodata = 0.0 if dataset.nodata is None and is_masked else dataset.nodata
    return Georeference(crs, tuple(dataset.transform)[:6], nodata)


def _rows_and_columns(window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    return (window.top, window.bottom), (window.left, window.right)


def _all_valid() -> Any:
    from rasterio.enums import MaskFlags

    return MaskFlags.all_valid


@contextmanager
def _gdal() -> Iterator[None]:
    """Limit GDAL's cache, and raise errors with GDAL's message, which rasterio has in the cause of its error."""
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
            yield
    except RasterioError as error:
        raise OSError(str(error.__cause__ or error)) from error
