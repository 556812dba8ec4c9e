"""Read and write image files: the only place where bytes become pixels, and pixels become bytes.

An image in memory is an array (H, W, C) of uint8, uint16, or float32 in [0, 1]. `to_unit` and `from_unit` convert
between those and the range [-1, 1] of the networks. Each file gives one array: alpha is composited over white, the
EXIF orientation is applied, palettes become RGB, 16 bits are preserved, ICC profiles are ignored, and the first image
of a stereo JPEG is read. With a declared value range (`Kind` "values") arrays have the stored values, also int16, int32
and any finite float32; an `Encoding` maps them to float32 in [0, 1].

Pillow decodes most formats. Files that it would decode incompletely or inexactly, with missing rows or samples in an
unsupported order, and files that are too large raise an `ImageError` that names the file and the remedy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from diptych.data.config import Interpolation
from diptych.data.images import pnm
from diptych.data.images.alpha import Kind, convert_alpha, over_white, white_of
from diptych.data.images.class_maps import IDS, one_hot
from diptych.data.images.decode import (
    apply_orientation,
    channels_and_dtype,
    decode_image,
    has_alpha,
    integer_dtype,
    open_image,
    orientation_of,
    samples_of,
    stored_size,
    to_array,
)
from diptych.data.images.encode import SUFFIXES, encode_image, suffixes_for, to_pil
from diptych.data.images.metadata import Metadata
from diptych.data.images.nodata import is_nodata, nodata_of
from diptych.data.images.npy import npy_header, read_npy
from diptych.data.images.stored_file import MAX_PIXELS, StoredFile, TooManyPixelsError, image_errors, is_npy, open_file
from diptych.data.images.stored_values import DTYPES, InvalidImageError, in_memory, lowest_value, memory_dtype
from diptych.data.images.tiff_planes import SIGNATURES, needs_tifffile, read_tiff, tiff_shape, tiff_tags
from diptych.errors import ImageError
from diptych.system.atomic_files import atomic_write

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "Header",
    "Kind",
    "StoredFile",
    "TooManyPixelsError",
    "as_pixels",
    "encoded",
    "from_pil",
    "from_unit",
    "over_white",
    "probe",
    "read",
    "resize",
    "suffixes_for",
    "to_pil",
    "to_unit",
    "valid_pixels",
    "white_of",
    "with_channels",
    "write",
]

FILTERS: Mapping[Interpolation, Image.Resampling] = MappingProxyType(
    {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
)


@dataclass(frozen=True)
class Header:
    """The shape of the array that `read` returns, and the name of its dtype, known without decoding."""

    height: int
    width: int
    channels: int
    dtype: str
    alpha: bool = field(default=False, compare=False)  # whether the file has alpha, which `read` composites over white
    palette: bool = field(default=False, compare=False)  # whether the file stores palette indices


def read(path: Path | str | StoredFile, kind: Kind = "colour") -> np.ndarray:
    """Return the pixels of a file: (H, W, C), C is 1 or 3 (any in .npy and .tif); uint8, uint16 or float32 in [0, 1].

    `kind` is how alpha and palettes are read: "colour" composites alpha over white; "rgba" always gives four channels,
    opaque without alpha; "ids" gives the indices of a palette and ignores alpha. "values" is as "colour", and also
    gives int16, int32 and any finite float32.
    The format is detected from the content, except that .npy is detected by name. Raises only `ImageError`.
    """
    with open_file(path) as file:
        if is_npy(path):
            return read_npy(file, kind)
        if pnm.is_pnm(file):
            return convert_alpha(pnm.read_pnm(file, scaled=kind != "ids"), kind)
        return read_tiff(file, kind) if needs_tifffile(file) else decode_image(file, kind)


def valid_pixels(path: Path | str | StoredFile) -> np.ndarray | None:
    """Return a mask (H, W) of the pixels of a GeoTIFF with data; None if the file has no nodata value. ImageError.

    A pixel has no data if all channels are the nodata value. `read` gives the lowest value there.
    """
    with open_file(path) as file:
        if file.read(4) not in SIGNATURES or (nodata := nodata_of(tiff_tags(file))) is None:
            return None
    if np.dtype(probe(path, "values").dtype).kind == "u":
        return ~is_nodata(read(path, "ids"), nodata)
    values = read(path, "values")
    return ~is_nodata(values, float(lowest_value(values.dtype, "values")))


def probe(path: Path | str | StoredFile, kind: Kind = "colour") -> Header:
    """Return the shape and dtype that `read` would return, from the header alone. Raises only `ImageError`.

    Alpha is not counted as a channel, and class ids have the dtype of colours.
    """
    with open_file(path) as file:
        if is_npy(path):
            shape, dtype, _ = npy_header(file, kind)
            return Header(*shape, dtype=memory_dtype(dtype, kind).name)
        if pnm.is_pnm(file):
            shape, white = pnm.pnm_header(file)
            return Header(*shape, dtype="uint8" if white < 256 else "uint16")
        if needs_tifffile(file):
            height, width, channels, stored, has_extra = tiff_shape(file, kind)
            return Header(height, width, channels, stored.name, has_extra)
        image, file = open_image(file)
        width, height = stored_size(image) if orientation_of(image, file) < 5 else stored_size(image)[::-1]
        return Header(height, width, *channels_and_dtype(image, kind), has_alpha(image), image.mode == "P")


def write(path: Path | str, array: np.ndarray, metadata: Metadata | None = None) -> None:
    """Write an image (H, W, C) or (H, W) atomically, in the format of the suffix of `path`. Creates missing folders.

    Every format supports uint8 with 1 or 3 channels; .png (1 or 3 channels), .tif (1), PNM and .npy support uint16;
    .tif (1) and .npy support float32, also outside 0..1, and int32; .npy supports int16 and any number of channels, and
    so does .tif with tifffile (extra `science`); .ome.tif is an OME-TIFF then. .png (8 and 16 bits), .webp and .tif (8
    bits) support RGBA. .pgm has 1 channel. JPEG is saved with quality 95; WebP is lossless, with grey saved as RGB.
    `metadata` that the format does not support is dropped. Raises only `ImageError`.
    """
    path = Path(path)
    with image_errors(path, "cannot be written", "check the folder and the free space"):
        data = encode_image(path, array, metadata or Metadata())
        with atomic_write(path, durable=False) as part:
            part.write_bytes(data)


def encoded(path: Path | str, array: np.ndarray, metadata: Metadata | None = None) -> bytes:
    """Return the bytes that `write` writes to a file of this name. Raises only `ImageError`."""
    with image_errors(path, "cannot be encoded", "choose another format"):
        return encode_image(Path(path), array, metadata or Metadata())


def from_pil(image: Image.Image, label: str = "image", kind: Kind = "colour") -> np.ndarray:
    """Return the pixels of a PIL image as `read` does, with its orientation applied. `label` names it in errors."""
    with image_errors(Path(label), "cannot be taken", "convert it to RGB"):
        orientation = image.getexif().get(274, 1)
        if kind == "ids":
            samples = to_array(image) if image.mode == "P" else samples_of(image)
        else:
            has_key = "transparency" in image.info and image.mode != "P"
            samples = samples_of(image.convert("RGBA") if has_key else image, kind, integer_dtype(image, kind))
        return apply_orientation(convert_alpha(samples, kind), orientation)


def as_pixels(array: np.ndarray, label: str = "array", kind: Kind = "colour") -> np.ndarray:
    """Return a user's array as (H, W, C) uint8, uint16 or float32 in [0, 1]. Raises `ImageError` for any other.

    With the kind "values", also int16, int32 and any finite float32.
    """
    with image_errors(Path(label), "cannot be taken", "give uint8, uint16, or float within 0..1"):
        pixels = array[..., None] if array.ndim == 2 else array
        if pixels.ndim != 3 or not pixels.size:
            raise InvalidImageError(f"has the shape {array.shape}; give (H, W) or (H, W, C), none of them zero")
        if pixels.dtype.kind == "b" or (kind != "values" and DTYPES.get(pixels.dtype.name) in ("int16", "int32")):
            raise InvalidImageError(f"holds {pixels.dtype}; give uint8, uint16, or float within 0..1")
        return in_memory(pixels, kind)


def to_unit(array: np.ndarray) -> np.ndarray:
    """Scale uint8, uint16 or float32 in [0, 1] to float32 in [-1, 1]. Raises ValueError for other dtypes."""
    unit = array.astype(np.float32)
    unit /= white_of(array.dtype) / 2
    unit -= 1
    return unit


def from_unit(x: np.ndarray, dtype: Any) -> np.ndarray:
    """Return the inverse of `to_unit`, clipped and rounded to `dtype`. Raises ValueError if not finite."""
    if not np.isfinite(x).all():
        raise ValueError("values that are not finite have no pixels")
    dtype, values = np.dtype(dtype), x.astype(np.float64)
    values += 1
    values *= white_of(dtype) / 2
    return _nearest(values, dtype)


def with_channels(array: np.ndarray, channels: int, path: Path | str) -> np.ndarray:
    """Return (H, W, channels): grey is repeated for 3 channels, and colour becomes luminance, as in Pillow.

    Class ids (int32) become one-hot planes of uint8, 0 and 255. Raises ImageError, which names `path`, for any other
    number of channels.
    """
    if array.dtype == IDS:
        return one_hot(array, channels, path)
    count = array.shape[2]
    if count == channels:
        return array
    if (count, channels) == (1, 3):
        return np.repeat(array, 3, axis=2)
    if (count, channels) != (3, 1):
        alpha = "; alpha=keep reads a fourth channel, alpha" if channels == 4 and count in (1, 3) else ""
        raise ImageError(
            f"{path}: expected {channels} channels, got {count}; only 1 and 3 channels convert to each other{alpha}"
        )
    weights = np.array([19595, 38470, 7471])  # ITU-R 601-2 in units of 1/65536, the integers of Pillow
    if array.dtype.kind == "f":
        grey = array @ (weights / 65536).astype(np.float32)
    else:
        grey = array @ weights + 0x8000 >> 16
    return np.asarray(grey[..., None], array.dtype)


def resize(array: np.ndarray, height: int, width: int, interpolation: Interpolation = "bicubic") -> np.ndarray:
    """Resize (H, W, C) to (height, width, C) of the same dtype, by one of Pillow's antialiased filters.

    Class ids (int32) are resized to the nearest pixel. An image of that size is returned unchanged.
    """
    if array.shape[:2] == (height, width):
        return array
    if array.dtype == IDS:
        return array[_nearest_indices(array.shape[0], height)[:, None], _nearest_indices(array.shape[1], width)]
    pillow_filter = FILTERS[interpolation]
    if array.dtype == np.uint8 and array.shape[2] in (1, 3):
        return to_array(to_pil(array).resize((width, height), pillow_filter))
    planes = [Image.fromarray(np.ascontiguousarray(plane, np.float32)) for plane in np.moveaxis(array, 2, 0)]
    resized = [np.asarray(plane.resize((width, height), pillow_filter)) for plane in planes]
    return _nearest(np.stack(resized, axis=2), array.dtype)


def resize_unit(x: np.ndarray, height: int, width: int, is_map: bool = False) -> np.ndarray:
    """Return (C, H, W) in [-1, 1] resized to (C, height, width) by an antialiased bicubic filter, and clipped.

    `is_map`: to the nearest pixel, as one-hot planes of class ids are.
    """
    if x.shape[1:] == (height, width):
        return x
    if is_map:
        return x[:, _nearest_indices(x.shape[1], height)[:, None], _nearest_indices(x.shape[2], width)]
    unit = (x.transpose(1, 2, 0).astype(np.float32) + 1) / 2
    return np.ascontiguousarray(to_unit(resize(unit, height, width)).transpose(2, 0, 1))


def center_square(array: np.ndarray) -> np.ndarray:
    """Return the largest square in the center of an image (H, W, C)."""
    height, width = array.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return array[top : top + side, left : left + side]


def _nearest_indices(size: int, new_size: int) -> np.ndarray:
    """Return the index of the pixel whose center is nearest to that of each new pixel."""
    return np.minimum(((np.arange(new_size) + 0.5) * (size / new_size)).astype(int), size - 1)


def _nearest(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return values rounded to `dtype`, and clipped to black and white. `values` are overwritten."""
    if dtype.kind != "f":
        np.rint(values, out=values)
    return np.asarray(np.clip(values, 0, white_of(dtype), out=values), dtype)
