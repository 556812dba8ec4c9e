"""The OME-XML of an image: that of the source of a translation, adapted to it, or a new one."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import Any

import numpy as np

from diptych.errors import printable

SCHEMAS = "http://www.openmicroscopy.org/Schemas/OME/"
NAMESPACE = SCHEMAS + "2016-06"
MICROMETRES = 1e4  # of a centimetre
MAX_NAME = 100  # characters of the name of a channel
TYPES = {"uint8": "uint8", "uint16": "uint16", "int16": "int16", "int32": "int32", "float32": "float"}


def ome_xml(
    source: str | None,
    resolution: tuple[float, float] | None,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    channel_names: Sequence[str] | None = None,
) -> str:
    """Return the OME-XML of one image (H, W, C), whose channels are interleaved, or, with names, planes of their own.

    It keeps what that of the source says about instrument, objective, regions and annotations; sizes, type and channels
    are those of the image. Identifiers of files and the source's further images are removed. `resolution` is in pixels
    per centimetre.
    """
    root = _root(source)
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
    if channel_names is None:
        channel.set("SamplesPerPixel", str(shape[2]))
        pixels.extend([channel, ElementTree.Element(f"{namespace}TiffData", IFD="0", PlaneCount="1")])
    else:
        _add_planes(pixels, namespace, channel_names)
    _describe(pixels, *shape, dtype)
    if channel_names is not None:
        pixels.set("Interleaved", "false")
        pixels.set("DimensionOrder", "XYCZT")
    if resolution:
        for axis, per_centimetre in zip("XY", resolution, strict=True):
            pixels.set(f"PhysicalSize{axis}", f"{MICROMETRES / per_centimetre:.9g}")
            pixels.set(f"PhysicalSize{axis}Unit", "µm")
    root.attrib.pop("UUID", None)
    ElementTree.register_namespace("", namespace[1:-1])
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>{text}'


def _add_planes(pixels: ElementTree.Element, namespace: str, names: Sequence[str]) -> None:
    """Add a channel for each name, and the plane of each."""
    for number, name in enumerate(names):
        attributes = {"ID": f"Channel:0:{number}", "SamplesPerPixel": "1", **({"Name": name} if name else {})}
        pixels.append(ElementTree.Element(f"{namespace}Channel", attributes))
    for number in range(len(names)):
        position = {"IFD": str(number), "FirstC": str(number), "PlaneCount": "1"}
        pixels.append(ElementTree.Element(f"{namespace}TiffData", position))


def channel_names_of(text: str | None) -> tuple[str, ...]:
    """Return the names of the channels of the first image of an OME-XML; empty if one has none."""
    root = _root(text)
    pixels = root.find(f".//{root.tag.removesuffix('OME')}Pixels")
    found = [] if pixels is None else pixels.findall(f"{root.tag.removesuffix('OME')}Channel")
    names = tuple(printable(channel.get("Name") or "")[:MAX_NAME] for channel in found)
    return names if all(names) else ()


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
