"""The one place where bytes become pixels, and pixels become bytes.

An image in memory is an array (H, W, C) of uint8, of uint16, or of float32 within 0..1; `to_unit` and `from_unit` go
between those and the range -1..1 that networks use. One file gives one array: alpha lies over white, EXIF orientation
is applied, palettes become RGB, 16 bits stay 16 bits, ICC profiles are ignored, of a stereo JPEG the first picture
counts.

Pillow decodes. This file settles what Pillow leaves open and refuses what Pillow would guess at: missing rows, samples
in an order it gets wrong, files too large. Every refusal is an `ImageError` that names the file and the way out.
"""

import math
import os
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from diptych.errors import ImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".npy")
MAX_PIXELS = 100_000_000

# Called directly, not through Image.open: that has a lower limit on pixels, and only warns when it is passed.
_OPENERS: dict[bytes, type[ImageFile]] = {
    b"\x89PNG": PngImageFile,
    b"\xff\xd8\xff": JpegImageFile,
    b"RIFF": WebPImageFile,
    b"BM": BmpImageFile,
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImageFile),
}
# Samples of more than 8 bits that Pillow 13 decodes right. It forgets to swap the bytes of compressed big-endian ones.
_EXACT_TIFF = re.compile(r"\w+ (I;16[BNRS]?|I;32[NS]|F;32F|RGB[AX]?;16[BLN])|raw (I;16BS|I;32BS|F;32BF)")
_OPTIONS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}


@dataclass(frozen=True)
class Header:
    """What `read` will return, known before it decodes: its shape, and its dtype by name."""

    height: int
    width: int
    channels: int
    dtype: str


def is_image(path: Path | str) -> bool:
    """Whether `path` is a file, not hidden, whose name ends in one of `SUFFIXES` (in capitals or not)."""
    path = Path(path)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def read(path: Path | str) -> np.ndarray:
    """The pixels of a file: (H, W, C), C is 1 or 3 (any in .npy); uint8, uint16 or float32 within 0..1.

    The content tells the format, not the name, except that .npy goes by its name. Raises `ImageError` only.
    """
    with _opened(path) as file:
        return _read_npy(file) if _is_npy(path) else _read_picture(file)


def probe(path: Path | str) -> Header:
    """What `read` would return, by the header alone; `ImageError` for all that the header shows to be unreadable."""
    with _opened(path) as file:
        if _is_npy(path):
            shape, dtype, _ = _npy_header(file)
            return Header(*shape, dtype={"u": dtype.name, "b": "uint8", "f": "float32"}[dtype.kind])
        image = _open(file)
        width, height = _stored_size(image) if _orientation(image, file) < 5 else _stored_size(image)[::-1]
        return Header(height, width, *_layout(image))


def write(path: Path | str, array: np.ndarray) -> None:
    """Write (H, W, C) or (H, W) in the format that `path` ends in: whole or not at all. Folders on the way are made.

    uint8 with 1 or 3 channels goes into every format, uint16 into .png (1 or 3), .tif (1) and .npy, float32 within 0..1
    into .tif (1) and .npy. JPEG has quality 95; WebP is lossless, and has no grey but RGB. Raises `ImageError` only.
    """
    path = Path(path)
    with _naming(path, "cannot be written", "check the folder and the free space"):
        data = _encode(path.suffix.lower(), array)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{uuid4().hex}.part")
        try:
            part.write_bytes(data)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def to_unit(array: np.ndarray) -> np.ndarray:
    """uint8, uint16 or float32 within 0..1 -> float32 within -1..1, same shape; ValueError for other dtypes."""
    unit = array.astype(np.float32)
    unit /= _white(array.dtype) / 2
    unit -= 1
    return unit


def from_unit(x: np.ndarray, dtype: Any) -> np.ndarray:
    """The inverse of `to_unit`: clamped to -1..1, then the nearest value in `dtype`; ValueError if not finite."""
    if not np.isfinite(x).all():
        raise ValueError("values that are not finite have no pixels")
    dtype = np.dtype(dtype)
    return _nearest((x.astype(np.float64) + 1) * (_white(dtype) / 2), dtype)


def with_channels(array: np.ndarray, channels: int, path: Path | str) -> np.ndarray:
    """(H, W, C) -> (H, W, channels): 1 to 3 repeats, 3 to 1 is luminance as in Pillow; else `ImageError` on `path`."""
    has = array.shape[2]
    if has == channels:
        return array
    if (has, channels) == (1, 3):
        return np.repeat(array, 3, axis=2)
    if (has, channels) != (3, 1):
        raise ImageError(f"{path}: has {has} channels where {channels} are wanted; only 1 and 3 turn into each other")
    weights = np.array([19595, 38470, 7471])  # ITU-R 601-2 in 1/65536, the integers that Pillow uses
    if array.dtype.kind == "f":
        grey = array @ (weights / 65536).astype(np.float32)
    else:
        grey = array @ weights + 0x8000 >> 16
    return np.asarray(grey[..., None], array.dtype)


def resize(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, C) -> (height, width, C) in the same dtype, by Pillow's antialiased bicubic; the same size: unchanged."""
    if array.shape[:2] == (height, width):
        return array
    if array.dtype == np.uint8 and array.shape[2] in (1, 3):
        return _array(_picture(array).resize((width, height), Image.Resampling.BICUBIC))
    planes = [Image.fromarray(np.ascontiguousarray(plane, np.float32)) for plane in np.moveaxis(array, 2, 0)]
    resized = [np.asarray(plane.resize((width, height), Image.Resampling.BICUBIC)) for plane in planes]
    return _nearest(np.stack(resized, axis=2), array.dtype)


class _UnfitError(Exception):
    """What is wrong with a file and the way out; `_naming` puts the file's name in front."""


@contextmanager
def _naming(path: Path, problem: str, way_out: str) -> Iterator[None]:
    """Turn whatever happens inside into an `ImageError` that names `path`."""
    try:
        yield
    except _UnfitError as error:
        raise ImageError(f"{path}: {error}") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, zlib.error, KeyError and more
        raise ImageError(f"{path}: {problem} ({error or type(error).__name__}); {way_out}") from error


@contextmanager
def _opened(path: Path | str) -> Iterator[BinaryIO]:
    path = Path(path)
    with _naming(path, "is damaged, cut short, too large or of unknown kind", "export it again as PNG, or remove it"):
        if not path.is_file():
            problem = "is a folder, not an image" if path.is_dir() else "there is no such file"
            raise _UnfitError(f"{problem}; check the path")
        with path.open("rb") as file:
            yield file


def _check_size(count: int, limit: int) -> None:
    if count > limit:
        raise _UnfitError(f"is too large ({count:,}, the limit is {limit:,}); scale it down or cut it into pieces")


def _is_npy(path: Path | str) -> bool:
    return Path(path).suffix.lower() == ".npy"


def _npy_header(file: BinaryIO) -> tuple[tuple[int, int, int], np.dtype[Any], bool]:
    """(H, W, C), the dtype and whether columns come first; leaves `file` at the first value."""
    layouts = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, by_columns, dtype = layouts[np.lib.format.read_magic(file)](file)
    if dtype.name not in ("uint8", "uint16", "bool", "float16", "float32", "float64"):
        raise _UnfitError(f"holds {dtype.name}; save it as uint8, uint16, bool, or float within 0..1")
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise _UnfitError(f"has the shape {shape}; save it as (H, W) or (H, W, C), none of them zero")
    _check_size(math.prod(shape), 4 * MAX_PIXELS)
    if os.fstat(file.fileno()).st_size < file.tell() + math.prod(shape) * dtype.itemsize:
        raise _UnfitError("is cut short: it holds fewer values than its header says; copy or save it again")
    return (shape[0], shape[1], shape[2] if len(shape) == 3 else 1), dtype, by_columns


def _read_npy(file: BinaryIO) -> np.ndarray:
    shape, dtype, by_columns = _npy_header(file)
    stored = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    values = np.fromfile(file, stored, math.prod(shape)).reshape(shape, order="F" if by_columns else "C")
    if dtype.kind == "f":
        return _unit_floats(values)
    if dtype.kind == "b":
        values = np.where(values, np.uint8(255), np.uint8(0))
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


def _unit_floats(values: np.ndarray) -> np.ndarray:
    if not (values.min() >= 0 and values.max() <= 1):  # NaN fails this too
        raise _UnfitError("has values outside 0..1 or not finite; rescale it to 0..1 and save it again")
    return np.ascontiguousarray(values, np.float32)


def _open(file: BinaryIO) -> ImageFile:
    """The picture in `file`, not yet decoded; refused if its header shows that `read` cannot give it."""
    start = file.read(4)
    opener = next((opener for prefix, opener in _OPENERS.items() if start.startswith(prefix)), None)
    if opener is None:
        raise _UnfitError("is not a PNG, JPEG, WebP, BMP or TIFF image; convert it to PNG")
    file.seek(0)
    image = opener(file)
    _check_size(math.prod(image.size), MAX_PIXELS)
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise _UnfitError(f"holds {frames} frames; split it into frames, one file each")
    if isinstance(image, TiffImageFile):
        _check_tiff(image)
    return image


def _check_tiff(image: TiffImageFile) -> None:
    """Refuse what Pillow decodes to wrong values in silence: white as 0, separate planes, signed bytes and the like."""
    tags, layout = image.tag_v2, f"{image.tile[0].codec_name} {_raw_mode(image)}"
    apart = tags.get(284, 1) != 1 and len(image.getbands()) > 1
    exact = _EXACT_TIFF.fullmatch(layout) and tags.get(262, 0) != 0 and not apart
    deep, signed = max(tags.get(258, (1,))) > 8, 2 in tags.get(339, (1,))
    if (deep and not exact) or (signed and not deep):
        raise _UnfitError(f"is a TIFF that is not read exactly ({layout}); save it as PNG, or .npy uint16 (H, W, C)")


def _raw_mode(image: ImageFile) -> str:
    """How the samples of a PNG or TIFF lie in the file, in Pillow's words, as RGB;16B; empty for other formats."""
    args: Any = image.tile[0].args if image.format in ("PNG", "TIFF") else ""
    return args if isinstance(args, str) else str(args[0])


def _layout(image: ImageFile) -> tuple[int, str]:
    """Channels and dtype, as `read` gives them."""
    raw = _raw_mode(image)
    grey = image.mode[0] in "1FI" or image.mode in ("L", "LA", "La") or raw == "LA;16B"
    deep = image.mode[0] == "I" or ";16" in raw
    return 1 if grey else 3, "float32" if image.mode == "F" else "uint16" if deep else "uint8"


def _stored_size(image: ImageFile) -> tuple[int, int]:
    # A TIFF's `size` may be turned already: it depends on where the orientation is written.
    return (image.tag_v2[256], image.tag_v2[257]) if isinstance(image, TiffImageFile) else image.size


def _orientation(image: ImageFile, file: BinaryIO) -> int:
    """1 to 8 as EXIF counts; 1 where it is absent or damaged, as in viewers."""
    try:
        if image.format == "PNG":  # may follow the pixels, where Pillow looks only after it decoded them
            for data in _png_chunks(file, b"eXIf"):
                image.info["exif"] = data
        found = Image.Image.getexif(image).get(274)
    except Exception:
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _png_chunks(file: BinaryIO, wanted: bytes) -> Iterator[bytes]:
    """What the chunks named `wanted` hold; ValueError or struct.error if one is damaged or the file has no end."""
    file.seek(8)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind not in (wanted, b"IEND"):
            file.seek(length + 4, os.SEEK_CUR)
            continue
        data = file.read(length)
        if struct.pack(">I", zlib.crc32(kind + data)) != file.read(4):
            raise ValueError(f"damaged data in {kind.decode()}")
        if kind == wanted:
            yield data


def _read_picture(file: BinaryIO) -> np.ndarray:
    image = _open(file)
    orientation = _orientation(image, file)
    deep_colour = ";16" in _raw_mode(image) and image.mode[0] != "I"
    samples = _deep_colour(image, file) if deep_colour else _samples(_decoded(image, file))
    if image.mode != "P" and "transparency" in image.info:
        samples = _key_to_white(samples, image.info["transparency"], file)
    if samples.shape[2] in (2, 4):
        samples = _over_white(samples)
    return samples if image.format == "TIFF" else _turned(samples, orientation)  # Pillow turns a TIFF as it decodes


def _decoded(image: ImageFile, file: BinaryIO, raw: str = "") -> ImageFile:
    """`image`, decoded with its samples taken to lie as `raw` says; refused if pixels are missing.

    Pillow leaves pixels that the data does not reach as they were: black. A second decoding, over white, tells them.
    """
    _load(image, raw)
    if image.format == "PNG":
        for _ in _png_chunks(file, b"IDAT"):  # Pillow skips these checksums
            pass
    if _may_have_gaps(image):
        file.seek(0)
        again = type(image)(file)
        white = 255 if len(again.getbands()) == 1 else (255,) * len(again.getbands())
        again.im = Image.new(again.mode, _stored_size(again), white).im
        _load(again, raw)
        if again.tobytes() != image.tobytes():
            raise _UnfitError("is cut short: its data ends before its last pixel; copy or export it again")
    return image


def _may_have_gaps(image: ImageFile) -> bool:
    if image.format != "PNG" or "interlace" in image.info:
        return image.format in ("PNG", "TIFF")
    # Rows come in order: one that is not all black was reached, and so were those above it.
    return not np.asarray(image.crop((0, image.height - 1, image.width, image.height))).any()


def _load(image: ImageFile, raw: str) -> None:
    if raw:
        renamed = [raw if isinstance(tile.args, str) else (raw, *(tile.args or ())[1:]) for tile in image.tile]
        image.tile = [tile._replace(args=args) for tile, args in zip(image.tile, renamed, strict=True)]
    image.load()


def _samples(image: ImageFile) -> np.ndarray:
    """The samples that Pillow decodes exactly: 1 or 3 channels, or 2 or 4 of which the last is alpha."""
    if image.mode == "F":
        return _unit_floats(_array(image))
    if image.mode[0] == "I":
        values = _array(image)
        if values.min() < 0 or values.max() > 65535:
            raise _UnfitError("has values outside 0..65535; save it with 16 bits, or as float .npy within 0..1")
        return values.astype(np.uint16)
    palette = "RGBA" if "transparency" in image.info else "RGB"
    simpler = {"1": "L", "L": "L", "La": "LA", "LA": "LA", "RGBA": "RGBA", "PA": "RGBA", "P": palette}
    wanted = simpler.get(image.mode, "RGB")
    return _array(image if image.mode == wanted else image.convert(wanted))


def _deep_colour(image: ImageFile, file: BinaryIO) -> np.ndarray:
    """Samples of 16 bits, of which Pillow keeps the high byte: a second decoding, as if swapped, gives the low one."""
    raw = _raw_mode(image)
    if raw == "LA;16B":
        return _array(_decoded(image, file, "RGBA")).view(">u2").astype(np.uint16)
    native, foreign = "LB" if sys.byteorder == "little" else "BL"
    swapped = raw[:-1] + {native: foreign, foreign: native, "N": foreign}[raw[-1]]
    high = _array(_decoded(image, file)).astype(np.uint16)
    file.seek(0)
    low = _array(_decoded(type(image)(file), file, swapped))
    return np.asarray(high << 8 | low)


def _key_to_white(samples: np.ndarray, key: int | tuple[int, ...], file: BinaryIO) -> np.ndarray:
    """White wherever a grey or RGB PNG has the colour that it names as transparent."""
    file.seek(24)
    most, white = 2 ** file.read(1)[0] - 1, _white(samples.dtype)
    # Pillow scales samples of 1, 2 and 4 bits to 0..255, but not the key.
    clear = samples == (np.atleast_1d(key) & most) * (white // most)
    return np.where(clear.all(axis=2, keepdims=True), samples.dtype.type(white), samples)


def _over_white(samples: np.ndarray) -> np.ndarray:
    """(H, W, C + 1), the last is alpha -> (H, W, C) over white, rounded to nearest."""
    white = np.uint32(_white(samples.dtype))
    colour, alpha = samples[..., :-1].astype(np.uint32), samples[..., -1:].astype(np.uint32)
    mixed: np.ndarray = (colour * alpha + white * (white - alpha) + white // 2) // white
    return mixed.astype(samples.dtype)


def _turned(array: np.ndarray, orientation: int) -> np.ndarray:
    if orientation in (3, 4, 6, 7):
        array = array[::-1]
    if orientation in (2, 3, 7, 8):
        array = array[:, ::-1]
    return np.ascontiguousarray(array.swapaxes(0, 1) if orientation >= 5 else array)


def _encode(suffix: str, array: np.ndarray) -> bytes:
    """The bytes of a file that ends in `suffix`; refused if it cannot hold the array."""
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or not pixels.size:
        raise _UnfitError(f"no file can hold the shape {array.shape}; give (H, W) or (H, W, C), none of them zero")
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    holders, channels = _holders(pixels.dtype, pixels.shape[2]), pixels.shape[2]
    if suffix not in holders:
        what = f"{pixels.dtype} with {channels} channel{'s' * (channels > 1)}"
        raise _UnfitError(f"this ending cannot hold {what}; write it to {', '.join(holders)}")
    if pixels.dtype.kind == "f":
        _unit_floats(pixels)
    if pixels.dtype == np.uint16 and channels == 3 and suffix == ".png":
        return _deep_png(pixels)
    buffer = BytesIO()
    if suffix == ".npy":
        np.save(buffer, pixels)
    else:
        name = {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper())
        _picture(pixels).save(buffer, name, **_OPTIONS.get(name, {}))
    return buffer.getvalue()


def _holders(dtype: np.dtype[Any], channels: int) -> tuple[str, ...]:
    """The endings whose files hold such pixels whole."""
    if dtype not in (np.uint8, np.uint16, np.float32):
        raise _UnfitError(f"no file can hold {dtype}; give uint8, uint16, or float32 within 0..1")
    if dtype == np.uint8 and channels in (1, 3):
        return SUFFIXES
    deep = {("uint16", 1): (".png", ".tif", ".tiff"), ("uint16", 3): (".png",), ("float32", 1): (".tif", ".tiff")}
    return (*deep.get((dtype.name, channels), ()), ".npy")


def _deep_png(pixels: np.ndarray) -> bytes:
    """A 16-bit RGB PNG, which Pillow does not write: each row is stored as what it adds to the row above."""
    height, width, _ = pixels.shape
    rows = pixels.astype(">u2").view(np.uint8).reshape(height, -1)
    added = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    marked = np.insert(added, 0, 2, axis=1)  # 2 names this filter
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(marked.tobytes()), b"IEND": b""}
    framed = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks.items())
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _array(image: Image.Image) -> np.ndarray:
    array = np.array(image)  # not asarray: torch warns about arrays that cannot be written to
    return array[..., None] if array.ndim == 2 else array


def _picture(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def _white(dtype: np.dtype[Any]) -> int:
    if dtype not in (np.uint8, np.uint16, np.float32):
        raise ValueError(f"pixels are uint8, uint16 or float32, not {dtype}")
    return 1 if dtype == np.float32 else int(np.iinfo(dtype).max)


def _nearest(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """The nearest values that `dtype` has between black and white."""
    rounded = values if dtype.kind == "f" else np.rint(values)
    return np.asarray(np.clip(rounded, 0, _white(dtype)), dtype)
