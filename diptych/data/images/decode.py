"""Decode image files with Pillow. Cases that Pillow decodes inexactly or incompletely are corrected or refused."""

import math
import os
import re
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from diptych.data.images.alpha import Kind, convert_alpha, key_to_alpha, key_to_white, transparent_pixels
from diptych.data.images.fast_decode import decode_common
from diptych.data.images.nodata import nodata_of, without_nodata
from diptych.data.images.stored_file import MAX_PIXELS, check_size
from diptych.data.images.stored_values import DECLARE, InvalidImageError, finite_floats, unit_floats

__all__ = [
    "apply_orientation",
    "channels_and_dtype",
    "decode_image",
    "has_alpha",
    "integer_dtype",
    "open_image",
    "orientation_of",
    "samples_of",
    "stored_size",
    "to_array",
]

# Called directly, not through Image.open, which has a lower limit on pixels and only warns above it.
_OPENERS: dict[bytes, type[ImageFile]] = {
    b"\x89PNG": PngImageFile,
    b"\xff\xd8\xff": JpegImageFile,
    b"RIFF": WebPImageFile,
    b"BM": BmpImageFile,
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImageFile),
}
# Samples of more than 8 bits that Pillow 13 decodes exactly. It does not swap the bytes of compressed big-endian ones.
_EXACT_TIFF = re.compile(r"\w+ (I;16[BNRS]?|I;32[NS]|F;32F|RGB[AX]?;16[BLN])|raw (I;16BS|I;32BS|F;32BF)")


def open_image(file: BinaryIO) -> tuple[ImageFile, BinaryIO]:
    """Return the image of `file`, not yet decoded, and the file to read its bytes from.

    That is `file` itself, or for a PNG with damaged metadata a copy without the metadata. Raises InvalidImageError if
    `image_io.read` does not support it.
    """
    start = file.read(4)
    opener = next((opener for prefix, opener in _OPENERS.items() if start.startswith(prefix)), None)
    if opener is None:
        raise InvalidImageError("is not a PNG, JPEG, WebP, BMP, TIFF or binary PNM image; convert it to PNG")
    file.seek(0)
    try:
        image = opener(file)
    except Exception:
        if opener is not PngImageFile:
            raise
        file = _without_metadata(file)
        image = opener(file)
    check_size(math.prod(image.size), MAX_PIXELS)
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise InvalidImageError(f"has {frames} frames; split it into frames, one file each")
    if isinstance(image, TiffImageFile):
        _check_tiff(image)
    return image, file


def _check_tiff(image: TiffImageFile) -> None:
    """Refuse layouts that Pillow silently decodes to wrong values, such as white as 0 and separate planes."""
    tags, layout = image.tag_v2, f"{image.tile[0].codec_name} {_raw_mode(image)}"
    has_planes = tags.get(284, 1) != 1 and len(image.getbands()) > 1
    is_exact = _EXACT_TIFF.fullmatch(layout) and tags.get(262, 0) != 0 and not has_planes
    is_deep, is_signed = max(tags.get(258, (1,))) > 8, 2 in tags.get(339, (1,))
    if (is_deep and not is_exact) or (is_signed and not is_deep) or _has_further_channels(tags):
        raise InvalidImageError(
            f"is a TIFF that is not read exactly ({layout}); save it as PNG, or .npy uint16 (H, W, C)"
        )


def _has_further_channels(tags: Any) -> bool:
    """Return whether a grey or RGB TIFF has channels beside its colours and alpha, which Pillow leaves out."""
    colours = {1: 1, 2: 3}.get(tags.get(262, 0), 0)
    count, extra = tags.get(277, 1) - colours, tags.get(338, ())
    alpha = (1, 2, 999)  # ExtraSamples; the last is that of Corel Draw
    return colours > 0 and (count > 1 or (count == 1 and not (extra and extra[0] in alpha)))


def _raw_mode(image: ImageFile) -> str:
    """Return Pillow's raw mode of a PNG or TIFF, such as RGB;16B; empty for other formats."""
    args: Any = image.tile[0].args if image.format in ("PNG", "TIFF") else ""
    return args if isinstance(args, str) else str(args[0])


def channels_and_dtype(image: ImageFile, kind: Kind = "colour") -> tuple[int, str]:
    """Return the number of channels and the name of the dtype that `image_io.read` gives."""
    raw = _raw_mode(image)
    grey = image.mode[0] in "1FI" or image.mode in ("L", "LA", "La") or raw == "LA;16B"
    deep = image.mode[0] == "I" or ";16" in raw
    dtype = "float32" if image.mode == "F" else integer_dtype(image, kind) if deep else "uint8"
    return 1 if grey else 3, dtype


def integer_dtype(image: Image.Image, kind: Kind) -> str:
    """Return the name of the dtype of an image with more than 8 bits: uint16, unless stored values are read."""
    if kind == "values" and image.mode == "I":
        raw = _raw_mode(image) if isinstance(image, ImageFile) and image.tile else ""
        if not isinstance(image, PngImageFile):
            return "int16" if raw.startswith("I;16") else "int32"
    return "uint16"


def has_alpha(image: ImageFile) -> bool:
    """Return whether pixels of the image may be transparent."""
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def stored_size(image: ImageFile) -> tuple[int, int]:
    """Return the width and height in the file, before the EXIF orientation is applied."""
    # Pillow may have applied the orientation to the `size` of a TIFF, depending on where it is stored.
    return (image.tag_v2[256], image.tag_v2[257]) if isinstance(image, TiffImageFile) else image.size


def orientation_of(image: ImageFile, file: BinaryIO) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if it is missing or damaged, as in image viewers."""
    try:
        if image.format == "PNG":  # may follow the pixels; Pillow reads it only after decoding them
            for data in _png_chunks(file, b"eXIf"):
                image.info["exif"] = data
        orientation = Image.Image.getexif(image).get(274)
    except Exception:
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _without_metadata(file: BinaryIO) -> BinaryIO:
    """Return a PNG without its metadata chunks: Pillow cannot open a file in which one of them is damaged."""
    file.seek(0)
    parts, kind = [file.read(8)], b""
    while kind != b"IEND":
        start = file.read(8)
        length, kind = struct.unpack(">I4s", start)
        if kind in (b"iCCP", b"pHYs", b"tEXt", b"zTXt", b"iTXt"):
            file.seek(length + 4, os.SEEK_CUR)
        else:
            parts += [start, file.read(length + 4)]
    return BytesIO(b"".join(parts))


def _png_chunks(file: BinaryIO, wanted: bytes) -> Iterator[bytes]:
    """Yield the data of the `wanted` chunks. Raises ValueError or struct.error for damaged or missing chunks."""
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


def decode_image(file: BinaryIO, kind: Kind = "colour") -> np.ndarray:
    """Return the pixels of an image file, as `image_io.read` describes them.

    Class ids are the indices of a palette, or the samples without alpha.
    """
    if (common := decode_common(file, MAX_PIXELS)) is not None:
        return convert_alpha(common, kind)
    image, file = open_image(file)
    orientation = orientation_of(image, file)
    if kind == "ids" and image.mode == "P":
        samples = to_array(_decoded(image, file))
    else:
        deep_colour = ";16" in _raw_mode(image) and image.mode[0] != "I"
        dtype = integer_dtype(image, kind)
        is_unsigned = _raw_mode(image) == "I;32N"
        nodata = nodata_of(image.tag_v2) if isinstance(image, TiffImageFile) else None
        if deep_colour:
            samples = without_nodata(_deep_colour(image, file), nodata, kind)
        else:
            samples = samples_of(_decoded(image, file), kind, dtype, nodata)
        if is_unsigned and nodata is None and samples.min() < 0:  # Pillow reads them as int32
            raise InvalidImageError("has values above 2147483647; save it as float32")
    if image.mode != "P" and "transparency" in image.info and kind != "ids":
        transparent = transparent_pixels(samples, image.info["transparency"], file)
        samples = key_to_alpha(samples, transparent) if kind == "rgba" else key_to_white(samples, transparent)
    samples = convert_alpha(samples, kind)
    if image.format == "TIFF":  # Pillow has applied the orientation
        return samples
    return apply_orientation(samples, orientation)


def _decoded(image: ImageFile, file: BinaryIO, raw: str = "") -> ImageFile:
    """Return the decoded `image`; `raw` overrides Pillow's raw mode. Raises InvalidImageError if pixels are missing.

    Pillow leaves pixels without data unchanged, which is black. Decoding again into a white image reveals them.
    """
    _load(image, raw)
    if image.format == "PNG":
        for _ in _png_chunks(file, b"IDAT"):  # Pillow skips these checksums
            pass
    if _may_have_gaps(image):
        file.seek(0)
        again = type(image)(file)
        white = 255 if len(again.getbands()) == 1 else (255,) * len(again.getbands())
        again.im = Image.new(again.mode, stored_size(again), white).im
        _load(again, raw)
        if again.tobytes() != image.tobytes():
            raise InvalidImageError("is cut short: its data ends before its last pixel; copy or export it again")
    return image


def _may_have_gaps(image: ImageFile) -> bool:
    """Return whether pixels of a decoded image may be missing."""
    if image.format != "PNG" or "interlace" in image.info:
        return image.format in ("PNG", "TIFF")
    # Rows are stored in order: if the last one is not all black, it was decoded, and so were all others.
    return not image.crop((0, image.height - 1, image.width, image.height)).tobytes().strip(b"\0")


def _load(image: ImageFile, raw: str) -> None:
    if raw:
        renamed = [raw if isinstance(tile.args, str) else (raw, *(tile.args or ())[1:]) for tile in image.tile]
        image.tile = [tile._replace(args=args) for tile, args in zip(image.tile, renamed, strict=True)]
    if image.format != "TIFF":
        image.load()
        return
    with warnings.catch_warnings():  # about Pillow's lower limit on pixels; ours has been checked
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image.load()


def samples_of(
    image: Image.Image, kind: Kind = "colour", dtype: str = "uint16", nodata: float | None = None
) -> np.ndarray:
    """Return the samples (H, W, C) of an image: 1 or 3 channels, or 2 or 4 of which the last is alpha.

    `dtype` is that of integers of more than 8 bits. Pixels of the value `nodata` have the lowest value.
    """
    if image.mode == "F":
        values = without_nodata(to_array(image), nodata, kind)
        return finite_floats(values) if kind == "values" else unit_floats(values)
    if image.mode[0] == "I":
        values = to_array(image)
        values = without_nodata(values.astype(dtype) if kind == "values" else values, nodata, kind)
        if dtype == "uint16" and (values.min() < 0 or values.max() > 65535):
            raise InvalidImageError(f"has values outside 0..65535; {DECLARE}, or save it with 16 bits")
        return values.astype(dtype)
    palette = "RGBA" if "transparency" in image.info else "RGB"
    modes = {"1": "L", "L": "L", "La": "LA", "LA": "LA", "RGBA": "RGBA", "PA": "RGBA", "P": palette}
    mode = modes.get(image.mode, "RGB")
    return without_nodata(to_array(image if image.mode == mode else image.convert(mode)), nodata, kind)


def _deep_colour(image: ImageFile, file: BinaryIO) -> np.ndarray:
    """Return 16-bit samples, of which Pillow keeps the high byte: decoding with swapped bytes gives the low byte."""
    raw = _raw_mode(image)
    if raw == "LA;16B":
        return to_array(_decoded(image, file, "RGBA")).view(">u2").astype(np.uint16)
    native, foreign = "LB" if sys.byteorder == "little" else "BL"
    swapped = raw[:-1] + {native: foreign, foreign: native, "N": foreign}[raw[-1]]
    high = to_array(_decoded(image, file)).astype(np.uint16)
    file.seek(0)
    low = to_array(_decoded(type(image)(file), file, swapped))
    return np.asarray(high << 8 | low)


def apply_orientation(array: np.ndarray, orientation: int) -> np.ndarray:
    """Return an image (H, W, C) rotated and flipped by its EXIF orientation, 1 to 8."""
    if orientation in (3, 4, 6, 7):
        array = array[::-1]
    if orientation in (2, 3, 7, 8):
        array = array[:, ::-1]
    return np.ascontiguousarray(array.swapaxes(0, 1) if orientation >= 5 else array)


def to_array(image: Image.Image) -> np.ndarray:
    """Return the samples of a PIL image as a writable array (H, W, C)."""
    array = np.array(image)  # not asarray: torch warns about read-only arrays
    return array[..., None] if array.ndim == 2 else array
