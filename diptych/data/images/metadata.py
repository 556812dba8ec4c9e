"""What a file says about its pixels beside them: colour profile, resolution, georeference. Translations keep it.

Metadata is a stranger's and often damaged: nothing here raises for what a file holds, it is left out.
"""

import math
import struct
import warnings
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from diptych.data.images.decode import is_npy, open_file, open_image, orientation_of
from diptych.errors import ImageError, printable

MAX_PROFILE = 4 * 2**20  # bytes; profiles of printers with large tables have 2 to 3 MiB
MAX_TAG = 2**16  # values of a GeoTIFF tag
MAX_DPI = 1e6
INCH = 0.0254  # metres
# ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GeoDoubleParams, GeoAsciiParams
GEOTIFF = (33550, 33922, 34264, 34735, 34736, 34737)
SPACES = {1: b"GRAY", 3: b"RGB ", 4: b"RGB "}  # colour space of a profile that fits so many channels


@dataclass(frozen=True)
class Metadata:
    """`dpi` are pixels per inch across and down. `geotiff` are the tags that place pixels of an image of `size`."""

    profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    geotiff: Mapping[int, Any] = field(default_factory=lambda: MappingProxyType({}))
    size: tuple[int, int] = (0, 0)  # width, height

    def for_pixels(self, are_ids: bool) -> "Metadata":
        """What still holds of a translation: class ids have no colour profile."""
        return replace(self, profile=None) if are_ids else self

    def pil_info(self, channels: int) -> dict[str, Any]:
        """What a PIL image of so many channels takes of it in `info`, from where Pillow saves the profile."""
        found = {"icc_profile": self.profile if _fits(self.profile, channels) else None, "dpi": self.dpi}
        return {key: value for key, value in found.items() if value}


NO_METADATA = Metadata()


def read_metadata(path: Path | str) -> Metadata:
    """The metadata of an image file; none for what cannot be read."""
    with suppress(ImageError), warnings.catch_warnings(), open_file(path) as file:
        warnings.simplefilter("ignore")  # what Pillow thinks of damaged metadata
        if not is_npy(path):
            picture, file = open_image(file)
            return metadata_of_image(picture, orientation_of(picture, file))
    return NO_METADATA


def metadata_of_image(picture: Image.Image, orientation: int | None = None) -> Metadata:
    """The metadata of a PIL image whose pixels are turned by an EXIF orientation; by default its own."""
    with suppress(Exception):  # of a stranger's bytes Pillow makes objects of any kind
        orientation = picture.getexif().get(274, 1) if orientation is None else orientation
        profile, dpi = picture.info.get("icc_profile"), _dpi(picture.info.get("dpi"))
        keeps = isinstance(profile, bytes) and 128 <= len(profile) <= MAX_PROFILE
        geotiff = _geotiff(picture) if orientation == 1 else {}
        return Metadata(
            profile if keeps else None, dpi[::-1] if dpi and orientation > 4 else dpi, geotiff, picture.size
        )
    return NO_METADATA


def _dpi(value: Any) -> tuple[float, float] | None:
    with suppress(Exception):
        across, down = (float(each) for each in value)
        if not isinstance(value, str) and all(math.isfinite(each) and 0 < each < MAX_DPI for each in (across, down)):
            return across, down
    return None


def _geotiff(picture: Image.Image) -> dict[int, Any]:
    if not isinstance(picture, TiffImageFile):
        return {}
    found = {tag: picture.tag_v2.get(tag) for tag in GEOTIFF}
    values = {tag: (value,) if isinstance(value, float | int) else value for tag, value in found.items()}
    return {tag: value for tag, value in values.items() if isinstance(value, tuple | str) and len(value) <= MAX_TAG}


def save_options(metadata: Metadata, format: str, channels: int, size: tuple[int, int]) -> dict[str, Any]:
    """The options by which Pillow writes into a file of `format` (PNG, JPEG, ...) what it can hold of the metadata.

    The georeference goes only into a TIFF of the source's own size.
    """
    options: dict[str, Any] = {}
    if format in ("PNG", "JPEG", "WEBP", "TIFF") and _fits(metadata.profile, _written(format, channels)):
        options["icc_profile"] = metadata.profile
    if metadata.dpi and format in ("PNG", "JPEG", "TIFF", "BMP"):
        options["dpi"] = metadata.dpi
    if metadata.geotiff and format == "TIFF" and metadata.size == size:
        options["tiffinfo"] = _directory(metadata.geotiff)
    return options


def _written(format: str, channels: int) -> int:
    """The channels in the file: WebP has no grey."""
    return 3 if format == "WEBP" and channels == 1 else channels


def _fits(profile: bytes | None, channels: int) -> bool:
    return profile is not None and profile[16:20] == SPACES.get(channels)


def _directory(tags: Mapping[int, Any]) -> ImageFileDirectory_v2:
    directory = ImageFileDirectory_v2()
    kinds = {34735: 3, 34737: 2}  # short integers, text; the others are doubles
    for tag, value in tags.items():
        directory.tagtype[tag] = kinds.get(tag, 12)
        directory[tag] = value
    return directory


def png_chunks(metadata: Metadata, channels: int) -> dict[bytes, bytes]:
    """The chunks of a PNG with its profile and resolution."""
    chunks = {}
    if metadata.profile and _fits(metadata.profile, channels):
        chunks[b"iCCP"] = b"ICC Profile\0\0" + zlib.compress(metadata.profile)
    if metadata.dpi:
        chunks[b"pHYs"] = struct.pack(">IIB", *(round(each / INCH) for each in metadata.dpi), 1)
    return chunks


def profile_name(profile: bytes | None) -> str | None:
    """The name of a colour profile other than sRGB, from its `desc` tag; None for sRGB and without a profile."""
    if profile is None:
        return None
    name = "unnamed"
    with suppress(Exception):
        (count,) = struct.unpack(">I", profile[128:132])
        tags = (profile[132 + 12 * at : 144 + 12 * at] for at in range(min(count, 100)))
        start, size = next(struct.unpack(">II", tag[4:]) for tag in tags if tag[:4] == b"desc")
        name = _text(profile[start : start + size]) or name
    return None if "srgb" in name.lower().replace(" ", "") else printable(name)[:60]


def _text(tag: bytes) -> str:
    """The text of a `desc` (version 2) or `mluc` (version 4) element, the first language of the latter."""
    if tag[:4] == b"mluc":
        size, start = struct.unpack(">II", tag[20:28])
        return tag[start : start + size].decode("utf-16-be").strip("\0 ")
    (size,) = struct.unpack(">I", tag[8:12])
    return tag[12 : 12 + size].decode("latin-1").strip("\0 ")
