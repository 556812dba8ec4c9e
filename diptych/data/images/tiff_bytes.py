"""TIFF and OME-TIFF files of images with any number of channels, written by tifffile (extra `science`)."""

from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np

from diptych.data.images.metadata import GEOTIFF, Metadata
from diptych.data.images.nodata import TAG
from diptych.data.images.ome import ome_xml

DTYPES = ("uint8", "uint16", "int16", "int32", "float32")
SHORT, DOUBLE, ASCII = 3, 12, 2  # types of tags


def writes_tiff() -> bool:
    """Return whether TIFF files are written that Pillow does not write."""
    return find_spec("tifffile") is not None


def tiff_bytes(pixels: np.ndarray, metadata: Metadata, is_ome: bool) -> bytes:
    """Return a TIFF of pixels (H, W, C), with the channels as samples; in an OME-TIFF as pages with their names."""
    import tifffile

    height, width, channels = pixels.shape
    arguments: dict[str, Any] = {"photometric": "minisblack", "metadata": None, "software": "Diptych"}
    if metadata.dpi:
        arguments |= {"resolution": metadata.dpi, "resolutionunit": 2}
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, byteorder="<") as writer:
        if is_ome:
            per_centimetre = (metadata.dpi[0] / 2.54, metadata.dpi[1] / 2.54) if metadata.dpi else None
            names = metadata.channel_names if len(metadata.channel_names) == channels else ("",) * channels
            text = ome_xml(metadata.ome, per_centimetre, (height, width, channels), pixels.dtype, names)
            for number in range(channels):
                description = None if number else text.encode()
                writer.write(pixels[..., number], description=description, **arguments)
        else:
            is_colour = channels == 3 and pixels.dtype.kind == "u"
            layout: dict[str, Any] = {"planarconfig": "contig"} if channels > 1 else {}
            layout |= {"photometric": "rgb"} if is_colour else {}
            values = pixels[..., 0] if channels == 1 else pixels
            tags = extra_tags(metadata, (width, height))
            writer.write(values, extratags=tags, **{**arguments, **layout})
    return buffer.getvalue()


def extra_tags(metadata: Metadata, size: tuple[int, int]) -> list[tuple[int, int, int, Any, bool]]:
    """Return the tags of the georeference and the nodata value of an image of this size (width, height)."""
    tags: list[tuple[int, int, int, Any, bool]] = []
    if metadata.size == size:
        for code, value in metadata.geotiff.items():
            kind = ASCII if isinstance(value, str) else SHORT if code == GEOTIFF[3] else DOUBLE
            tags.append((code, kind, 0 if kind == ASCII else len(value), value, True))
    if metadata.nodata is not None:
        tags.append((TAG, ASCII, 0, f"{metadata.nodata:.17g}", True))
    return tags
