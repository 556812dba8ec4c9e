"""Open a large image as a source, or create one as a sink, by the suffix of its file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from diptych.data.images import image_io
from diptych.data.images.alpha import Kind
from diptych.data.images.nodata import nodata_for
from diptych.data.images.ome import ome_xml
from diptych.data.images.stored_file import image_errors, open_file
from diptych.data.images.stored_values import InvalidImageError, memory_dtype
from diptych.data.images.tiff_planes import check_segments
from diptych.errors import ImageError
from diptych.inference.formats.details import NO_DETAILS, DetailedSource, Details, large_extra
from diptych.inference.formats.geotiff import RasterSource, geo_tags
from diptych.inference.formats.image_file import ImageFileSource, check_image, write_image
from diptych.inference.formats.overviews import create_levels
from diptych.inference.formats.partial_sink import PartialSink, Valid
from diptych.inference.formats.pixel_file import NpySource, PixelFile
from diptych.inference.formats.slide_source import SLIDE_SUFFIXES, SlideSource
from diptych.inference.formats.tiff_pages import layout_of_image, open_tiff
from diptych.inference.formats.tiff_source import GEO_TAGS, TiffSource, tiff_details
from diptych.inference.formats.tiff_writer import TiffOptions, check_tiff, plane_names, write_tiff
from diptych.inference.formats.zarr_array import ZarrSource, check_zarr, write_ome_zarr, write_zarr
from diptych.inference.large_images import BLOCK, Source, Window

Format = Literal["tiff", "ome-tiff", "zarr", "ome-zarr", "npy", "slide", "jp2", "image"]
SUFFIXES: Mapping[str, Format] = MappingProxyType(
    {
        **dict.fromkeys(image_io.SUFFIXES, "image"),
        **dict.fromkeys(SLIDE_SUFFIXES, "slide"),
        **dict.fromkeys((".tif", ".tiff", ".btf", ".tf8"), "tiff"),
        **dict.fromkeys((".ome.tif", ".ome.tiff"), "ome-tiff"),
        ".zarr": "zarr",
        ".ome.zarr": "ome-zarr",
        ".npy": "npy",
        ".jp2": "jp2",
    }
)
ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
BIG_TIFF = (b"II+\0", b"MM\0+")
READ_ONLY = ("slide", "jp2")
WITH_OVERVIEWS = ("tiff", "ome-tiff", "ome-zarr")


def format_of(path: Path) -> Format:
    """Return the format of a path, by its longest known suffix, or by zarr's files in a folder. ImageError."""
    name = path.name.lower()
    suffix = max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default=None)
    if suffix is None and _is_zarr(path):
        return "zarr"
    if suffix is None:
        raise ImageError(f"{path}: the suffix is that of no image format; use one of {', '.join(sorted(SUFFIXES))}")
    return SUFFIXES[suffix]


def _is_zarr(path: Path) -> bool:
    return any((path / name).is_file() for name in ZARR_FILES)


def is_large_format(path: Path | str) -> bool:
    """Return whether a file has a format that `open_source` reads, but `image_io.read` does not.

    These are slides, zarr, OME-TIFF, BigTIFF and JPEG 2000, and any TIFF or .npy file that `image_io` refuses, for
    example as it is too large.
    """
    path = Path(path)
    try:
        format = format_of(path)
    except ImageError:
        return False
    if format not in ("tiff", "npy"):
        return format != "image"
    if path.suffix.lower() not in image_io.SUFFIXES:
        return True
    if not path.is_file():
        return False
    try:
        image_io.probe(path)
    except ImageError:
        return True
    with open(path, "rb") as file:
        return file.read(4) in BIG_TIFF


def open_source(path: Path | str, kind: Kind = "colour") -> DetailedSource:
    """Return the source of an image file of any supported format, at full resolution.

    `kind` is how alpha is read, as in `image_io.read`. Raises ImageError for files that are missing, damaged or not
    supported, and if a library of the extra `large` is missing.
    """
    path = Path(path)
    match format_of(path):
        case "tiff" | "ome-tiff":
            return _open_tiff(path, kind)
        case "zarr" | "ome-zarr":
            return ZarrSource(path, kind)
        case "slide":
            return SlideSource(path, kind)
        case "npy":
            return NpySource(path, kind)
        case "jp2":
            return RasterSource(path, kind)
        case "image":
            return ImageFileSource(path, kind)


def _open_tiff(path: Path, kind: Kind) -> DetailedSource:
    """Return the source of a TIFF: rasterio's if it is georeferenced or has a nodata value."""
    with open_file(path), large_extra("TIFF files"), open_tiff(path) as tiff:
        pages = layout_of_image(tiff).pages
        details = tiff_details(pages[0], alpha=kind == "rgba")
        is_raster = any(code in pages[0].tags for code in GEO_TAGS)
        if is_raster:
            check_segments(pages[0], path.stat().st_size)
        if is_raster and len(pages) > 1:
            raise InvalidImageError(f"is a GeoTIFF of {len(pages)} pages; save its bands as samples of one page")
    return RasterSource(path, kind, details) if is_raster else TiffSource(path, kind)


def create_sink(
    path: Path | str,
    like: Source | None,
    height: int,
    width: int,
    channels: int,
    dtype: Any,
    compression: str = "deflate",
    overviews: bool = False,
    block: int = BLOCK,
    channel_names: Sequence[str] = (),
) -> PartialSink:
    """Return the sink of a new image file, whose format is that of its suffix.

    Resolution, colour profile, OME-XML, georeference and nodata pixels are those of the source `like`, adapted to the
    size; formats that do not support one of them leave it out. `overviews` adds reduced levels. `block` is the side
    of tiles and chunks in pixels. An OME-TIFF has a plane for each channel if there are `channel_names`, or other than
    1, 3 or 4 channels. A partial output of the same shape and dtype is continued (`PartialSink.resumed`).
    Raises ImageError for what the format does not support, and if the disk does not have enough space.
    """
    path, shape, pixels_dtype = Path(path), (height, width, channels), np.dtype(dtype)
    format = format_of(path)
    details = _scaled(like, height, width)
    georeference = details.georeference if format == "tiff" else None
    nodata = nodata_for(georeference.nodata, pixels_dtype) if georeference else None
    with image_errors(path, "cannot be written", "check the options"), large_extra(f"{format} files"):
        _check_options(path, format, shape, pixels_dtype, compression, overviews, block)
        tags = geo_tags(replace(georeference, nodata=nodata)) if georeference else ()

    def assemble(part: Path, pixels: PixelFile, folder: Path) -> None:
        levels = create_levels(pixels, folder, nodata, block) if overviews else [pixels]
        match format:
            case "tiff":
                write_tiff(part, levels, details, TiffOptions(block, compression, tags=tags))
            case "ome-tiff":
                names = plane_names(channels, channel_names)
                text = ome_xml(details.ome_xml, details.resolution, shape, pixels_dtype, names)
                write_tiff(part, levels, details, TiffOptions(block, compression, text, has_planes=names is not None))
            case "zarr":
                write_zarr(part, pixels, block, compression)
            case "ome-zarr":
                write_ome_zarr(part, levels, details, block, compression)
            case "npy":
                pixels.copy(part)
            case _:
                write_image(part, pixels, details)
        for level in levels[1:]:
            level.close()

    return PartialSink(path, shape, pixels_dtype, block, assemble, _valid(like, height, width), nodata)


def _check_options(
    path: Path,
    format: Format,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    compression: str,
    overviews: bool,
    block: int,
) -> None:
    """Raise InvalidImageError for what a format does not support, ImportError if its library is missing."""
    memory_dtype(dtype, "values")
    if path.is_dir() and not (format in ("zarr", "ome-zarr") and _is_zarr(path)):
        raise InvalidImageError("is a folder; give the name of a new file")
    if overviews and format not in WITH_OVERVIEWS:
        raise InvalidImageError("this format has no overviews; use .tif, .ome.tif or .ome.zarr")
    match format:
        case "tiff" | "ome-tiff":
            import imagecodecs  # noqa: F401
            import tifffile  # noqa: F401

            check_tiff(shape[2], dtype, compression, block)
        case "zarr" | "ome-zarr":
            import zarr  # noqa: F401

            check_zarr(compression)
        case "npy":
            pass
        case "image":
            check_image(path, shape, dtype)
        case _:
            raise InvalidImageError("this format is only read; use .ome.tif or .tif")


def _scaled(like: Source | None, height: int, width: int) -> Details:
    """Return the details of a source for an image of another size that shows the same area."""
    details = getattr(like, "details", NO_DETAILS)
    if like is None or (like.height, like.width) == (height, width):
        return details
    rows, columns = height / like.height, width / like.width
    resolution = (details.resolution[0] * columns, details.resolution[1] * rows) if details.resolution else None
    georeference = details.georeference.scaled(rows, columns) if details.georeference else None
    return replace(details, resolution=resolution, georeference=georeference)


def _valid(like: Source | None, height: int, width: int) -> Valid | None:
    """Return the function of a sink's valid pixels, which are those of the nearest pixels of `like`."""
    mask_of = getattr(like, "valid", None)
    if like is None or mask_of is None:
        return None
    rows, columns = like.height / height, like.width / width

    def valid(window: Window) -> np.ndarray | None:
        y = ((np.arange(window.top, window.bottom) + 0.5) * rows).astype(int)
        x = ((np.arange(window.left, window.right) + 0.5) * columns).astype(int)
        mask = mask_of(Window(int(y[0]), int(x[0]), int(y[-1] - y[0] + 1), int(x[-1] - x[0] + 1)))
        return None if mask is None else mask[y - y[0]][:, x - x[0]]

    return valid
