"""The OME-XML of a translation: that of the source, adapted to one image, or a new one."""

import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np

from diptych.inference.formats.details import Details

SCHEMAS = "http://www.openmicroscopy.org/Schemas/OME/"
NAMESPACE = SCHEMAS + "2016-06"
MICROMETRES = 1e4  # of a centimetre
TYPES = {"uint8": "uint8", "uint16": "uint16", "int16": "int16", "int32": "int32", "float32": "float"}


def ome_xml(details: Details, height: int, width: int, channels: int, dtype: np.dtype[Any]) -> str:
    """Return the OME-XML of one image with interleaved channels.

    It keeps what the source's says about instrument, objective, regions and annotations; sizes, type and channels are
    those of the image. Identifiers of files and the source's further images are removed.
    """
    root = _root(details.ome_xml)
    namespace = root.tag.partition("}")[0] + "}"
    images = root.findall(f"{namespace}Image")
    for other in images[1:]:
        root.remove(other)
    image = images[0] if images else ElementTree.SubElement(root, f"{namespace}Image", ID="Image:0")
    pixels = image.find(f"{namespace}Pixels")
    if pixels is None:
        pixels = ElementTree.SubElement(image, f"{namespace}Pixels", ID="Pixels:0")
    channel = pixels.find(f"{namespace}Channel")
    for part in list(pixels):
        pixels.remove(part)
    if channel is None:
        channel = ElementTree.Element(f"{namespace}Channel", ID="Channel:0:0")
    channel.set("SamplesPerPixel", str(channels))
    pixels.extend([channel, ElementTree.Element(f"{namespace}TiffData", IFD="0", PlaneCount="1")])
    _describe(pixels, height, width, channels, dtype)
    if details.resolution:
        for axis, per_centimetre in zip("XY", details.resolution, strict=True):
            pixels.set(f"PhysicalSize{axis}", f"{MICROMETRES / per_centimetre:.9g}")
            pixels.set(f"PhysicalSize{axis}Unit", "µm")
    root.attrib.pop("UUID", None)
    ElementTree.register_namespace("", namespace[1:-1])
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>{text}'


def _root(text: str | None) -> ElementTree.Element:
    """Return the root of a source's OME-XML; that of an empty one if it is missing, damaged or declares entities."""
    if text and "<!" not in text.replace("<!--", "").replace("<![CDATA[", ""):
        try:
            root = ElementTree.fromstring(text)
        except (ElementTree.ParseError, ValueError):  # ValueError: an encoding that the text does not have
            root = None
        if root is not None and root.tag.startswith(f"{{{SCHEMAS}") and root.tag.endswith("}OME"):
            return root
    return ElementTree.Element(f"{{{NAMESPACE}}}OME", Creator="Diptych")


def _describe(pixels: ElementTree.Element, height: int, width: int, channels: int, dtype: np.dtype[Any]) -> None:
    """Set the attributes of a Pixels element that describe the array."""
    sizes = {"SizeX": width, "SizeY": height, "SizeC": channels, "SizeZ": 1, "SizeT": 1}
    for name, size in sizes.items():
        pixels.set(name, str(size))
    pixels.set("Type", TYPES[dtype.name])
    pixels.set("SignificantBits", str(8 * dtype.itemsize))
    pixels.set("DimensionOrder", "XYCZT")
    pixels.set("Interleaved", "true")
    pixels.set("BigEndian", "false")


def resolution_of(text: str | None) -> tuple[float, float] | None:
    """Return pixels per centimetre of the first image of an OME-XML; None if it has no size in micrometres."""
    root = _root(text)
    pixels = root.find(f".//{root.tag.removesuffix('OME')}Pixels")
    if pixels is None:
        return None
    try:
        x, y = (MICROMETRES / float(pixels.get(f"PhysicalSize{axis}") or 0) for axis in "XY")
    except (ValueError, ZeroDivisionError):
        return None
    units = {pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "XY"}
    return (x, y) if units == {"µm"} and 0 < x < 1e9 and 0 < y < 1e9 else None
