"""The one place where bytes become pixels, and pixels become bytes.

An image in memory is an array (H, W, C) of uint8, of uint16, or of float32 within 0..1; `to_unit` and `from_unit` go
between those and the range -1..1 that networks use. One file gives one array: alpha lies over white, EXIF orientation
is applied, palettes become RGB, 16 bits stay 16 bits, ICC profiles are ignored, of a stereo JPEG the first picture
counts.

Pillow decodes. This file settles what Pillow leaves open and refuses what Pillow would guess at: missing rows, samples
in an order it gets wrong, files too large. Every refusal is an `ImageError` that names the file and the way out.
"""

import struct
import zlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diptych.data.images import pnm
from diptych.data.images.alpha import Kind, convert_alpha, over_white, white_of
from diptych.data.images.class_maps import IDS, one_hot
from diptych.data.images.decode import (
    MAX_PIXELS,
    InvalidImageError,
    apply_orientation,
    channels_and_dtype,
    decode_image,
    has_alpha,
    image_errors,
    is_npy,
    npy_header,
    open_file,
    open_image,
    orientation_of,
    read_npy,
    samples_of,
    stored_size,
    to_array,
    unit_floats,
)
from diptych.data.images.metadata import Metadata, png_chunks, save_options
from diptych.errors import ImageError
from diptych.system.atomic_files import atomic_write

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "Header",
    "Kind",
    "as_pixels",
    "from_pil",
    "from_unit",
    "over_white",
    "probe",
    "read",
    "resize",
    "to_pil",
    "to_unit",
    "white_of",
    "with_channels",
    "write",
]

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", *pnm.HOLD, ".npy")

_OPTIONS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}


@dataclass(frozen=True)
class Header:
    """What `read` will return, known before it decodes: its shape, and its dtype by name."""

    height: int
    width: int
    channels: int
    dtype: str
    alpha: bool = field(default=False, compare=False)  # whether the file has alpha, which `read` puts over white
    palette: bool = field(default=False, compare=False)  # whether the file has indices of a palette


def read(path: Path | str, kind: Kind = "colour") -> np.ndarray:
    """The pixels of a file: (H, W, C), C is 1 or 3 (any in .npy); uint8, uint16 or float32 within 0..1.

    `kind` chooses what alpha and palettes become: "colour" puts alpha over white; "rgba" gives four channels always,
    opaque where there is no alpha; "ids" gives the indices of a palette and ignores alpha.
    The content tells the format, not the name, except that .npy goes by its name. Raises `ImageError` only.
    """
    with open_file(path) as file:
        if is_npy(path):
            return read_npy(file, kind)
        if pnm.is_pnm(file):
            return convert_alpha(pnm.read_pnm(file, scaled=kind != "ids"), kind)
        return decode_image(file, kind)


def probe(path: Path | str) -> Header:
    """What `read` would return, by the header alone; `ImageError` for all that the header shows to be unreadable."""
    with open_file(path) as file:
        if is_npy(path):
            shape, dtype, _ = npy_header(file)
            return Header(*shape, dtype={"u": dtype.name, "b": "uint8", "f": "float32"}[dtype.kind])
        if pnm.is_pnm(file):
            shape, white = pnm.pnm_header(file)
            return Header(*shape, dtype="uint8" if white < 256 else "uint16")
        image, file = open_image(file)
        width, height = stored_size(image) if orientation_of(image, file) < 5 else stored_size(image)[::-1]
        return Header(height, width, *channels_and_dtype(image), has_alpha(image), image.mode == "P")


def write(path: Path | str, array: np.ndarray, metadata: Metadata | None = None) -> None:
    """Write (H, W, C) or (H, W) in the format that `path` ends in: whole or not at all. Folders on the way are made.

    uint8 with 1 or 3 channels goes into every format, uint16 into .png (1 or 3), .tif (1), PNM and .npy, float32 within
    0..1 into .tif (1) and .npy; four channels, RGBA, go into .png (8 and 16 bits), .webp and .tif (8 bits). .pgm has 1
    channel. JPEG has quality 95; WebP is lossless, and has no grey but RGB. Of `metadata` the format gets what it can
    hold. Raises `ImageError` only.
    """
    path = Path(path)
    with image_errors(path, "cannot be written", "check the folder and the free space"):
        data = _encode(path.suffix.lower(), array, metadata or Metadata())
        with atomic_write(path, durable=False) as part:
            part.write_bytes(data)


def from_pil(picture: Image.Image, label: str = "image", kind: Kind = "colour") -> np.ndarray:
    """The pixels of a PIL image by the rules of `read`, orientation included; `label` names it in an `ImageError`."""
    with image_errors(Path(label), "cannot be taken", "convert it to RGB"):
        orientation = picture.getexif().get(274, 1)
        if kind == "ids":
            samples = to_array(picture) if picture.mode == "P" else samples_of(picture)
        else:
            keyed = "transparency" in picture.info and picture.mode != "P"
            samples = samples_of(picture.convert("RGBA") if keyed else picture)
        return apply_orientation(convert_alpha(samples, kind), orientation)


def to_pil(array: np.ndarray) -> Image.Image:
    """uint8 (H, W, 1), (H, W, 3) or (H, W, 4) as a PIL image, L, RGB or RGBA."""
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def as_pixels(array: np.ndarray, label: str = "array") -> np.ndarray:
    """An array of a person's as (H, W, C) uint8, uint16 or float32 within 0..1; `ImageError` for any other."""
    with image_errors(Path(label), "cannot be taken", "give uint8, uint16, or float within 0..1"):
        pixels = array[..., None] if array.ndim == 2 else array
        if pixels.ndim != 3 or not pixels.size:
            raise InvalidImageError(f"has the shape {array.shape}; give (H, W) or (H, W, C), none of them zero")
        if pixels.dtype.kind == "f":
            return unit_floats(pixels)
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        if pixels.dtype not in (np.uint8, np.uint16):
            raise InvalidImageError(f"holds {pixels.dtype}; give uint8, uint16, or float within 0..1")
        return pixels


def to_unit(array: np.ndarray) -> np.ndarray:
    """uint8, uint16 or float32 within 0..1 -> float32 within -1..1, same shape; ValueError for other dtypes."""
    unit = array.astype(np.float32)
    unit /= white_of(array.dtype) / 2
    unit -= 1
    return unit


def from_unit(x: np.ndarray, dtype: Any) -> np.ndarray:
    """The inverse of `to_unit`: clamped to -1..1, then the nearest value in `dtype`; ValueError if not finite."""
    if not np.isfinite(x).all():
        raise ValueError("values that are not finite have no pixels")
    dtype = np.dtype(dtype)
    return _nearest((x.astype(np.float64) + 1) * (white_of(dtype) / 2), dtype)


def with_channels(array: np.ndarray, channels: int, path: Path | str) -> np.ndarray:
    """(H, W, C) -> (H, W, channels): 1 to 3 repeats, 3 to 1 is luminance as in Pillow; else `ImageError` on `path`.

    Class ids (int32) become uint8 planes of 0 and 255, one for each class.
    """
    if array.dtype == IDS:
        return one_hot(array, channels, path)
    has = array.shape[2]
    if has == channels:
        return array
    if (has, channels) == (1, 3):
        return np.repeat(array, 3, axis=2)
    if (has, channels) != (3, 1):
        alpha = "; alpha=keep reads a fourth channel, alpha" if channels == 4 and has in (1, 3) else ""
        raise ImageError(
            f"{path}: has {has} channels where {channels} are wanted; only 1 and 3 turn into each other{alpha}"
        )
    weights = np.array([19595, 38470, 7471])  # ITU-R 601-2 in 1/65536, the integers that Pillow uses
    if array.dtype.kind == "f":
        grey = array @ (weights / 65536).astype(np.float32)
    else:
        grey = array @ weights + 0x8000 >> 16
    return np.asarray(grey[..., None], array.dtype)


def resize(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, C) -> (height, width, C) in the same dtype, by Pillow's antialiased bicubic; the same size: unchanged.

    Class ids (int32) are never mixed: each pixel is the nearest one.
    """
    if array.shape[:2] == (height, width):
        return array
    if array.dtype == IDS:
        return array[_nearest_places(array.shape[0], height)[:, None], _nearest_places(array.shape[1], width)]
    if array.dtype == np.uint8 and array.shape[2] in (1, 3):
        return to_array(to_pil(array).resize((width, height), Image.Resampling.BICUBIC))
    planes = [Image.fromarray(np.ascontiguousarray(plane, np.float32)) for plane in np.moveaxis(array, 2, 0)]
    resized = [np.asarray(plane.resize((width, height), Image.Resampling.BICUBIC)) for plane in planes]
    return _nearest(np.stack(resized, axis=2), array.dtype)


def _nearest_places(size: int, new: int) -> np.ndarray:
    """The pixel whose middle is nearest to that of each new one."""
    return np.minimum(((np.arange(new) + 0.5) * (size / new)).astype(int), size - 1)


def _encode(suffix: str, array: np.ndarray, metadata: Metadata) -> bytes:
    """The bytes of a file that ends in `suffix`; refused if it cannot hold the array."""
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or not pixels.size:
        raise InvalidImageError(
            f"no file can hold the shape {array.shape}; give (H, W) or (H, W, C), none of them zero"
        )
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    channels = pixels.shape[2]
    endings = suffixes_for(pixels.dtype, channels)
    if suffix not in endings:
        what = f"{pixels.dtype} with {channels} channel{'s' * (channels > 1)}"
        raise InvalidImageError(f"this ending cannot hold {what}; write it to {', '.join(endings)}")
    if pixels.dtype.kind == "f":
        unit_floats(pixels)
    if pixels.dtype == np.uint16 and channels > 1 and suffix == ".png":
        return _deep_png(pixels, metadata)
    if suffix in pnm.HOLD:
        return pnm.pnm_bytes(pixels)
    buffer = BytesIO()
    if suffix == ".npy":
        np.save(buffer, pixels)
    else:
        name = {".jpg": "JPEG", ".jfif": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper())
        options = save_options(metadata, name, channels, (pixels.shape[1], pixels.shape[0]))
        to_pil(pixels).save(buffer, name, **_OPTIONS.get(name, {}), **options)
    return buffer.getvalue()


def suffixes_for(dtype: np.dtype[Any], channels: int) -> tuple[str, ...]:
    """The endings whose files hold such pixels whole."""
    if dtype not in (np.uint8, np.uint16, np.float32):
        raise InvalidImageError(f"no file can hold {dtype}; give uint8, uint16, or float32 within 0..1")
    no_pnm = {suffix for suffix, counts in pnm.HOLD.items() if channels not in counts}
    if dtype == np.uint8 and channels in (1, 3):
        return tuple(suffix for suffix in SUFFIXES if suffix not in no_pnm)
    deep = {
        ("uint8", 4): (".png", ".webp", ".tif", ".tiff"),
        ("uint16", 1): (".png", ".tif", ".tiff", *pnm.HOLD),
        ("uint16", 3): (".png", ".ppm", ".pnm"),
        ("uint16", 4): (".png",),
        ("float32", 1): (".tif", ".tiff"),
    }
    return (*deep.get((dtype.name, channels), ()), ".npy")


def _deep_png(pixels: np.ndarray, metadata: Metadata) -> bytes:
    """A 16-bit RGB or RGBA PNG, which Pillow does not write: each row is stored as what it adds to the row above."""
    height, width, channels = pixels.shape
    rows = np.ascontiguousarray(pixels, ">u2").view(np.uint8).reshape(height, -1)
    added = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    marked = np.insert(added, 0, 2, axis=1)  # 2 names this filter
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    pixel_data = {b"IDAT": zlib.compress(marked.tobytes()), b"IEND": b""}
    chunks = {b"IHDR": header, **png_chunks(metadata, channels), **pixel_data}
    framed = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks.items())
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _nearest(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """The nearest values that `dtype` has between black and white."""
    rounded = values if dtype.kind == "f" else np.rint(values)
    return np.asarray(np.clip(rounded, 0, white_of(dtype)), dtype)
