"""Read windows of zarr arrays (versions 2 and 3) and of level 0 of OME-Zarr; write version 3 and OME-Zarr 0.5."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images.alpha import Kind, with_alpha
from diptych.data.images.stored_file import image_errors
from diptych.data.images.stored_values import InvalidImageError, in_memory, memory_dtype
from diptych.data.images.tiff_planes import check_segment
from diptych.data.volumes.zarr_volume import check_codecs
from diptych.errors import shown
from diptych.inference.formats.details import (
    NO_DETAILS,
    Details,
    check_channels,
    check_shape,
    large_extra,
    window_errors,
)
from diptych.inference.formats.pixel_file import MAX_CHANNELS, PixelFile
from diptych.inference.large_images import Window, blocks, check_window

COMPRESSIONS = ("deflate", "zstd", "none")
MICROMETRES = 1e4  # of a centimetre


class ZarrSource:
    """The source of a zarr array (H, W), (H, W, C), or (C, H, W); of an OME-Zarr image with one time and one depth."""

    def __init__(self, path: Path, kind: Kind = "colour") -> None:
        self.path, self._kind = path, kind
        problem = "is damaged or not a zarr array"
        with image_errors(path, problem, "copy or export it again"), large_extra("zarr arrays"):
            self._array, axes, self.details = open_array(path)
            self._order = _order(self._array.shape, axes)
            self.height, self.width, stored = (
                1 if axis is None else int(self._array.shape[axis]) for axis in self._order
            )
            check_shape(self.height, self.width, stored, most_channels=MAX_CHANNELS)
            self.dtype = memory_dtype(self._array.dtype, kind)
            check_codecs(self._array.metadata)
            check_segment(self._array.chunks, self._array.dtype, "chunk")
            check_channels(stored, kind)
        self.channels = 4 if kind == "rgba" else stored

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        window = Window(top, left, height, width)
        check_window(self, window)
        index: list[Any] = [0] * self._array.ndim
        rows, columns, channels = self._order
        index[rows], index[columns] = slice(top, window.bottom), slice(left, window.right)
        if channels is not None:
            index[channels] = slice(None)
        with window_errors(self.path, f"array {shown(self._array.path or '/')}", window):
            values = np.asarray(self._array[tuple(index)])
            remaining = sorted(axis for axis in self._order if axis is not None)
            if channels is None:
                values, remaining = values[..., None], [*remaining, -1]
            order = [remaining.index(-1 if axis is None else axis) for axis in self._order]
            pixels = in_memory(values.transpose(order), self._kind)
            return with_alpha(pixels) if self._kind == "rgba" else pixels

    def valid(self, window: Window) -> np.ndarray | None:
        return None


def open_array(path: Path) -> tuple[Any, Sequence[str], Details]:
    """Return a zarr array, the names of its axes if it says them, and its details. InvalidImageError, zarr's errors."""
    import zarr

    if not path.is_dir():
        raise InvalidImageError("there is no such zarr folder; check the path")
    node: Any = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        return node, getattr(node.metadata, "dimension_names", None) or (), NO_DETAILS
    attributes: Any = dict(node.attrs)
    scales = attributes.get("ome", attributes).get("multiscales")
    if not scales:
        names = ", ".join(sorted(name for name, _ in node.arrays())[:5])
        advice = f"give the path of one of its arrays: {names}" if names else "save an array in it"
        raise InvalidImageError(f"is a zarr group without an OME-Zarr image; {advice}")
    first = scales[0]["datasets"][0]
    axes = [axis["name"] if isinstance(axis, dict) else str(axis) for axis in scales[0].get("axes", "tczyx")]
    array = node[first["path"]]
    if not isinstance(array, zarr.Array):
        raise InvalidImageError(f"has no array at {shown(first['path'])}, which its OME-Zarr metadata names")
    return array, axes, Details(_resolution(first, scales[0].get("axes", [])))


def check_zarr(compression: str) -> None:
    """Raise InvalidImageError for a compression that zarr arrays are not written with."""
    if compression not in COMPRESSIONS:
        raise InvalidImageError(f"zarr is not written with compression {compression!r}; use {', '.join(COMPRESSIONS)}")


def write_zarr(path: Path, pixels: PixelFile, block: int, compression: str) -> None:
    """Write an array (H, W, C) of version 3 with chunks of `block` rows and columns."""
    import zarr

    shape = (pixels.height, pixels.width, pixels.channels)
    array = zarr.create_array(
        path,
        shape=shape,
        dtype=pixels.dtype,
        chunks=(block, block, pixels.channels),
        compressors=_compressors(compression),
        dimension_names=("y", "x", "c"),
        zarr_format=3,
    )
    for window in blocks(pixels.height, pixels.width, block):
        array[window.top : window.bottom, window.left : window.right] = pixels.read(window)


def write_ome_zarr(path: Path, levels: Sequence[PixelFile], details: Details, block: int, compression: str) -> None:
    """Write an OME-Zarr image of version 0.5: a group with an array (C, H, W) for each level."""
    import zarr

    group = zarr.create_group(path, zarr_format=3)
    x, y = (MICROMETRES / value for value in details.resolution) if details.resolution else (1.0, 1.0)
    datasets: list[Any] = []
    for number, pixels in enumerate(levels):
        array = group.create_array(
            str(number),
            shape=(pixels.channels, pixels.height, pixels.width),
            dtype=pixels.dtype,
            chunks=(pixels.channels, block, block),
            compressors=_compressors(compression),
            dimension_names=("c", "y", "x"),
        )
        for window in blocks(pixels.height, pixels.width, block):
            values = np.moveaxis(pixels.read(window), 2, 0)
            array[:, window.top : window.bottom, window.left : window.right] = values
        scale = [1.0, y * 2**number, x * 2**number]
        datasets.append({"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    unit = {"unit": "micrometer"} if details.resolution else {}
    space: list[Any] = [{"name": name, "type": "space", **unit} for name in "yx"]
    axes = [{"name": "c", "type": "channel"}, *space]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}


def _compressors(compression: str) -> Any:
    from zarr.codecs import BloscCodec, ZstdCodec  # not GzipCodec, which stores the time

    return {"deflate": (BloscCodec(cname="zlib"),), "zstd": (ZstdCodec(level=3),), "none": ()}[compression]


def _order(shape: Sequence[int], axes: Sequence[str | None]) -> tuple[int, int, int | None]:
    """Return the axes of rows, columns and channels (None if there is none). Other axes must have the length 1."""
    if len(axes) == len(shape) and {"y", "x"} <= set(axes):
        rows, columns = axes.index("y"), axes.index("x")
        channels = axes.index("c") if "c" in axes else None
    elif len(shape) in (2, 3):
        is_last = len(shape) == 3 and (shape[2] <= 4 or shape[0] > 4)
        rows, columns = (0, 1) if is_last or len(shape) == 2 else (1, 2)
        channels = None if len(shape) == 2 else 2 if is_last else 0
    else:
        raise InvalidImageError(f"has the shape {tuple(shape)}; save it as (H, W) or (H, W, C)")
    if any(length != 1 for axis, length in enumerate(shape) if axis not in (rows, columns, channels)):
        raise InvalidImageError(f"has the axes {shown(list(axes))} and shape {tuple(shape)}; save one image an array")
    return rows, columns, channels


def _resolution(dataset: Any, axes: Any) -> tuple[float, float] | None:
    """Return pixels per centimetre of an OME-Zarr dataset; None if it has no scale in micrometres."""
    try:
        (scale,) = (each["scale"] for each in dataset["coordinateTransformations"] if each["type"] == "scale")
        units = {axis["name"]: (axis.get("unit"), size) for axis, size in zip(axes, scale, strict=True)}
        x, y = (MICROMETRES / float(units[name][1]) for name in "xy")
        is_micrometres = {units[name][0] for name in "xy"} == {"micrometer"}
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError):
        return None
    return (x, y) if is_micrometres and 0 < x < 1e9 and 0 < y < 1e9 else None
