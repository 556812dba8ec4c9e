"""Image metadata that translations keep: colour profile, resolution, georeference, nodata value, OME-XML.

Metadata is untrusted and often damaged. Nothing here raises for the content of a file: damaged metadata is ignored.
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

from diptych.data.images.decode import open_image, orientation_of
from diptych.data.images.nodata import TAG, nodata_of
from diptych.data.images.ome import channel_names_of
from diptych.data.images.stored_file import StoredFile, is_npy, open_file
from diptych.data.images.tiff_planes import needs_tifffile, tiff_tags
from diptych.errors import ImageError, printable

MAX_PROFILE = 4 * 2**20  # bytes; printer profiles with large tables have 2 to 3 MiB
MAX_TAG = 2**16  # values of a GeoTIFF tag
MAX_DPI = 1e6
INCH = 0.0254  # metres
# ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GeoDoubleParams, GeoAsciiParams
GEOTIFF = (33550, 33922, 34264, 34735, 34736, 34737)
MAX_XML = 2**24  # characters of an OME-XML
SPACES = {1: b"GRAY", 3: b"RGB ", 4: b"RGB "}  # colour space of a profile, by number of channels


@dataclass(frozen=True)
class Metadata:
    """Metadata of an image.

    `dpi` is the resolution in pixels per inch, horizontal and vertical. `geotiff` are the tags that georeference an
    image of this `size`. `nodata` is the value of pixels without data. `ome` is the OME-XML of the file, and
    `channel_names` are the names of the channels of the pixels to be written.
    """

    profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    geotiff: Mapping[int, Any] = field(default_factory=lambda: MappingProxyType({}))
    size: tuple[int, int] = (0, 0)  # width, height
    nodata: float | None = None
    ome: str | None = None
    channel_names: tuple[str, ...] = ()
    alpha: bool = True  # whether the fourth of four channels is alpha
    palette: bytes | None = None  # RGB colours of class ids

    def for_pixels(self, are_ids: bool) -> "Metadata":
        """Return the metadata that is valid for a translation: class ids have no colour profile, and no nodata."""
        return replace(self, profile=None, nodata=None) if are_ids else self

    def pil_info(self, channels: int) -> dict[str, Any]:
        """Return the `info` of a PIL image with this number of channels, from which Pillow saves the profile."""
        info = {"icc_profile": self.profile if _fits(self.profile, channels) else None, "dpi": self.dpi}
        return {key: value for key, value in info.items() if value}


NO_METADATA = Metadata()


def read_metadata(path: Path | str | StoredFile) -> Metadata:
    """Return the metadata of an image file; empty if it cannot be read."""
    with suppress(ImageError), warnings.catch_warnings(), open_file(path) as file:
        warnings.simplefilter("ignore")  # Pillow warns about damaged metadata
        if needs_tifffile(file):
            return _metadata_of_tags(tiff_tags(file))
        if not is_npy(path):
            image, file = open_image(file)
            return metadata_of_image(image, orientation_of(image, file))
    return NO_METADATA


def metadata_of_image(image: Image.Image, orientation: int | None = None) -> Metadata:
    """Return the metadata of a PIL image after its EXIF orientation, or the given one, is applied to the pixels."""
    with suppress(Exception):  # for damaged metadata Pillow may return objects of any type
        orientation = image.getexif().get(274, 1) if orientation is None else orientation
        profile, dpi = image.info.get("icc_profile"), _dpi(image.info.get("dpi"))
        is_valid = isinstance(profile, bytes) and 128 <= len(profile) <= MAX_PROFILE
        of_tags = _metadata_of_tags(image.tag_v2) if isinstance(image, TiffImageFile) else NO_METADATA
        return replace(
            of_tags,
            profile=profile if is_valid else None,
            dpi=dpi[::-1] if dpi and orientation > 4 else dpi,
            geotiff=of_tags.geotiff if orientation == 1 else {},
            size=image.size,
        )
    return NO_METADATA


def palette_of(path: Path | str) -> bytes | None:
    """Return the palette of an image file, as RGB colours one after the other; None if it has none."""
    with suppress(Exception), open_file(path) as file:  # Pillow raises errors of many types
        image, _ = open_image(file)
        if image.mode == "P" and (colours := image.getpalette("RGB")):
            return bytes(colours[: 3 * 256])
    return None


def channel_names(path: Path | str) -> tuple[str, ...]:
    """Return the names of the channels of an OME-TIFF; empty for other files, and if one has no name."""
    return channel_names_of(read_metadata(path).ome) if str(path).lower().endswith((".tif", ".tiff")) else ()


def _metadata_of_tags(tags: Mapping[int, Any]) -> Metadata:
    """Return the metadata in the tags of a TIFF."""
    with suppress(Exception):  # for damaged metadata Pillow may return objects of any type
        profile, text = tags.get(34675), tags.get(270)
        with suppress(ValueError):  # Pillow reads text as Latin-1, and OME-XML is UTF-8
            text = str(text).encode("latin-1").decode()
        is_valid = isinstance(profile, bytes) and 128 <= len(profile) <= MAX_PROFILE
        scale = {2: 1.0, 3: 2.54}.get(tags.get(296, 2))
        dpi = _dpi((float(tags[282]) * scale, float(tags[283]) * scale)) if scale and 282 in tags else None
        ome = text if len(str(text)) <= MAX_XML and "</OME" in str(text)[-50:] else None
        size = int(tags[256]), int(tags[257])
        return Metadata(profile if is_valid else None, dpi, _geotiff(tags), size, nodata_of(tags), ome)
    return NO_METADATA


def _dpi(value: Any) -> tuple[float, float] | None:
    """Return a resolution if it is two finite positive numbers, else None."""
    with suppress(Exception):
        horizontal, vertical = (float(number) for number in value)
        is_valid = all(math.isfinite(number) and 0 < number < MAX_DPI for number in (horizontal, vertical))
        if is_valid and not isinstance(value, str):
            return horizontal, vertical
    return None


def _geotiff(stored: Mapping[int, Any]) -> dict[int, Any]:
    """Return the GeoTIFF tags among the tags of a TIFF."""
    tags = {tag: stored.get(tag) for tag in GEOTIFF}
    values = {tag: (value,) if isinstance(value, float | int) else value for tag, value in tags.items()}
    return {tag: value for tag, value in values.items() if isinstance(value, tuple | str) and len(value) <= MAX_TAG}


def save_options(metadata: Metadata, format: str, channels: int, size: tuple[int, int]) -> dict[str, Any]:
    """Return Pillow's options for saving the metadata in a file of `format` (PNG, JPEG, ...), as far as it supports it.

    The georeference is saved only in a TIFF of the size of the source.
    """
    options: dict[str, Any] = {}
    if format in ("PNG", "JPEG", "WEBP", "TIFF") and _fits(metadata.profile, _stored_channels(format, channels)):
        options["icc_profile"] = metadata.profile
    if metadata.dpi and format in ("PNG", "JPEG", "TIFF", "BMP"):
        options["dpi"] = metadata.dpi
    if format == "TIFF":
        tags = dict(metadata.geotiff) if metadata.size == size else {}
        if metadata.nodata is not None:
            tags[TAG] = f"{metadata.nodata:.17g}"
        options |= {"tiffinfo": _directory(tags)} if tags else {}
    return options


def _stored_channels(format: str, channels: int) -> int:
    """Return the number of channels in the file: WebP has no grey."""
    return 3 if format == "WEBP" and channels == 1 else channels


def _fits(profile: bytes | None, channels: int) -> bool:
    """Return whether a profile is for images of this number of channels."""
    return profile is not None and profile[16:20] == SPACES.get(channels)


def _directory(tags: Mapping[int, Any]) -> ImageFileDirectory_v2:
    directory = ImageFileDirectory_v2()
    types = {34735: 3, 34737: 2, TAG: 2}  # short integers, text; the others are doubles
    for tag, value in tags.items():
        directory.tagtype[tag] = types.get(tag, 12)
        directory[tag] = value
    return directory


def png_chunks(metadata: Metadata, channels: int) -> dict[bytes, bytes]:
    """Return the PNG chunks of the profile and the resolution."""
    chunks = {}
    if metadata.profile and _fits(metadata.profile, channels):
        chunks[b"iCCP"] = b"ICC Profile\0\0" + zlib.compress(metadata.profile)
    if metadata.dpi:
        chunks[b"pHYs"] = struct.pack(">IIB", *(round(dpi / INCH) for dpi in metadata.dpi), 1)
    return chunks


def profile_name(profile: bytes | None) -> str | None:
    """Return the name of a colour profile, from its `desc` tag; None for sRGB and without a profile."""
    if profile is None:
        return None
    name = "unnamed"
    with suppress(Exception):
        (count,) = struct.unpack(">I", profile[128:132])
        tags = (profile[132 + 12 * index : 144 + 12 * index] for index in range(min(count, 100)))
        start, size = next(struct.unpack(">II", tag[4:]) for tag in tags if tag[:4] == b"desc")
        name = _text(profile[start : start + size]) or name
    return None if "srgb" in name.lower().replace(" ", "") else printable(name)[:60]


def _text(tag: bytes) -> str:
    """Return the text of a `desc` (version 2) or `mluc` (version 4) element, in the first language of the latter."""
    if tag[:4] == b"mluc":
        size, start = struct.unpack(">II", tag[20:28])
        return tag[start : start + size].decode("utf-16-be").strip("\0 ")
    (size,) = struct.unpack(">I", tag[8:12])
    return tag[12 : 12 + size].decode("latin-1").strip("\0 ")
