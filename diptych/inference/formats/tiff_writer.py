"""Write tiled, compressed TIFF, BigTIFF and OME-TIFF of stored pixels, with reduced levels. Bytes are reproducible."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images.metadata import SPACES
from diptych.data.images.stored_values import InvalidImageError
from diptych.data.images.tiff_planes import MAX_CHANNELS
from diptych.inference.formats.details import Details
from diptych.inference.formats.pixel_file import PixelFile
from diptych.inference.large_images import Window

COMPRESSIONS = ("deflate", "lzw", "zstd", "jpeg", "none")
JPEG_QUALITY = 90
CLASSIC_BYTES = 2**32 - 2**26  # uncompressed bytes up to which a classic TIFF is written; above them a BigTIFF
CENTIMETRE = 3  # ResolutionUnit
COLOURS = (1, 3, 4)  # numbers of channels that are grey or RGB


@dataclass(frozen=True)
class TiffOptions:
    """`tile` is the side of tiles in pixels, a multiple of 16. `ome_xml` makes an OME-TIFF.

    `tags` are further tags (code, dtype, count, value, write once), such as those of a georeference. `has_planes`: each
    channel is a page of its own.
    """

    tile: int
    compression: str = "deflate"
    ome_xml: str | None = None
    tags: Sequence[tuple[int, int, int, Any, bool]] = ()
    has_planes: bool = False


def plane_names(channels: int, names: Sequence[str]) -> Sequence[str] | None:
    """Return the names of the planes of an OME-TIFF, which may be empty; None if its channels are interleaved."""
    if len(names) == channels:
        return names
    return None if channels in COLOURS else ("",) * channels


def check_tiff(channels: int, dtype: np.dtype[Any], compression: str, tile: int) -> None:
    """Raise InvalidImageError for pixels that are not written as TIFF."""
    if compression not in COMPRESSIONS:
        raise InvalidImageError(f"compression {compression!r} is not supported; use {', '.join(COMPRESSIONS)}")
    if channels > MAX_CHANNELS:
        raise InvalidImageError(f"TIFF is written with at most {MAX_CHANNELS} channels, not {channels}; use .zarr")
    if compression == "jpeg" and (dtype != np.uint8 or channels not in (1, 3)):
        raise InvalidImageError("JPEG compression needs uint8 with 1 or 3 channels; use deflate")
    if tile < 16 or tile % 16:
        raise InvalidImageError(f"tiles of {tile} pixels are not supported; use a multiple of 16")


def write_tiff(path: Path, levels: Sequence[PixelFile], details: Details, options: TiffOptions) -> None:
    """Write the levels, the largest first, with the details, in the memory of a few tiles.

    The reduced levels are pages of their own, as GDAL and OpenSlide read them; in an OME-TIFF they are SubIFDs.
    """
    import tifffile

    is_big = sum(level.nbytes for level in levels) > CLASSIC_BYTES
    is_ome = options.ome_xml is not None
    planes: Sequence[int | None] = range(levels[0].channels) if options.has_planes else (None,)
    with tifffile.TiffWriter(path, bigtiff=is_big, byteorder="<") as writer:
        for plane, (number, level) in product(planes, enumerate(levels)):
            is_first = number == 0
            arguments = _page_arguments(level, details, options, is_first)
            has_text = is_first and options.ome_xml is not None and not plane
            writer.write(
                tiles_of(level, options.tile, plane),
                subfiletype=0 if is_first else 1,
                subifds=len(levels) - 1 if is_first and is_ome else None,
                description=str(options.ome_xml).encode() if has_text else None,
                extratags=options.tags if is_first else (),
                **arguments,
            )


def tiles_of(pixels: PixelFile, side: int, plane: int | None = None) -> Iterator[np.ndarray]:
    """Yield the tiles in row-major order, filled with zeros beyond the image: (side, side, channels), grey without.

    `plane` selects one channel.
    """
    chosen = slice(None) if plane is None else slice(plane, plane + 1)
    channels = pixels.channels if plane is None else 1
    for top in range(0, pixels.height, side):
        for left in range(0, pixels.width, side):
            window = Window(top, left, min(side, pixels.height - top), min(side, pixels.width - left))
            tile = np.zeros((side, side, channels), pixels.dtype)
            tile[: window.height, : window.width] = pixels.read(window)[..., chosen]
            yield tile[..., 0] if channels == 1 else tile


def _page_arguments(level: PixelFile, details: Details, options: TiffOptions, is_first: bool) -> dict[str, Any]:
    """Return tifffile's arguments for one page."""
    channels, is_jpeg = 1 if options.has_planes else level.channels, options.compression == "jpeg"
    arguments: dict[str, Any] = {
        "shape": (level.height, level.width, channels),
        "dtype": level.dtype,
        "tile": (options.tile, options.tile),
        "planarconfig": "contig",
        "photometric": "rgb" if channels in (3, 4) else "minisblack",  # JPEG is stored as YCbCr, by tifffile
        "metadata": None,
        "software": "Diptych",
    }
    if channels == 1:
        arguments |= {"shape": (level.height, level.width), "planarconfig": None}
    if channels == 4:
        arguments["extrasamples"] = ["unassalpha" if details.alpha else "unspecified"]
    elif channels not in COLOURS:
        arguments["extrasamples"] = ["unspecified"] * (channels - 1)
    if options.compression != "none":
        arguments["compression"] = {"deflate": "adobe_deflate"}.get(options.compression, options.compression)
        arguments |= {"compressionargs": {"level": JPEG_QUALITY}} if is_jpeg else {"predictor": True}
    if is_first and details.resolution:
        arguments |= {"resolution": details.resolution, "resolutionunit": CENTIMETRE}
    if is_first and details.profile and details.profile[16:20] == SPACES.get(channels):
        arguments["iccprofile"] = details.profile
    return arguments
