"""Volumes in zarr arrays (versions 2 and 3) and in level 0 of OME-Zarr, axes (z, y, x)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images.stored_values import InvalidImageError
from diptych.data.volumes.geometry import Geometry
from diptych.data.volumes.hdf5 import ARRAY_AFFINE, MAX_CHUNK
from diptych.data.volumes.nifti import name_of
from diptych.data.volumes.volume import finite, science_extra, volume_errors
from diptych.errors import listed, shown

MILLIMETRES = {"millimeter": 1.0, "micrometer": 1e-3, "nanometer": 1e-6}
# Codecs that decode numbers. Others are refused: numcodecs' `pickle` executes what a chunk says.
CODECS = {
    *("blosc", "bz2", "crc32", "crc32c", "adler32", "fletcher32", "delta", "gzip", "lz4", "lzma", "shuffle", "zlib"),
    *("zstd", "bytes", "transpose", "sharding_indexed"),
}


@dataclass(frozen=True)
class ZarrVolume:
    """A zarr array (z, y, x) of numbers; further axes before these have the length 1."""

    folder: Path
    name: str  # of the array in a group; empty if the folder is the array
    extra_axes: int
    geometry: Geometry
    patient_id: str

    @property
    def path(self) -> Path:
        return self.folder

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(sorted(file for file in self.folder.rglob("*") if file.is_file()))

    def plane(self, axis: int, position: int) -> np.ndarray:
        import zarr

        with volume_errors(self.folder):
            node: Any = zarr.open(self.folder, mode="r")
            array = node[self.name] if self.name else node
            index = tuple(position if number == axis else slice(None) for number in range(3))
            plane = np.asarray(array[(*[0] * self.extra_axes, *index)])
            return finite(plane, self.folder, f"the plane {position} of axis {axis}")


def open_zarr(folder: Path, name: str = "") -> ZarrVolume:
    """Return the array of a name, level 0 of an OME-Zarr image, or the only array. InvalidImageError, zarr's errors."""
    with science_extra("zarr arrays"):
        import zarr
    if not folder.is_dir():
        raise InvalidImageError("there is no such zarr folder; check the path")
    node: Any = zarr.open(folder, mode="r")
    scale = [1.0, 1.0, 1.0]
    if not isinstance(node, zarr.Array):
        image = _image_of(node)
        if image and not name:
            name, scale = image
        name = name.strip("/") or _only_array(node)
        node = node.get(name)
        if not isinstance(node, zarr.Array):
            raise InvalidImageError(f"has no array called {shown(name)}; check the path")
    shape = tuple(int(length) for length in node.shape)
    if len(shape) < 3 or any(length != 1 for length in shape[:-3]):
        raise InvalidImageError(f"has the shape {shape}; expected (z, y, x), one volume an array")
    if np.dtype(node.dtype).kind not in "iuf":
        raise InvalidImageError(f"has values of {shown(str(node.dtype))}; expected numbers")
    check_codecs(node.metadata)
    if float(np.prod(np.array(node.chunks, float))) * node.dtype.itemsize > MAX_CHUNK:
        raise InvalidImageError(f"has chunks {node.chunks}, which are too large; store it in smaller ones")
    affine = ARRAY_AFFINE @ np.diag([*scale, 1.0])
    return ZarrVolume(folder, name, len(shape) - 3, Geometry.of(shape[-3:], affine), name_of(folder))


def _only_array(group: Any) -> str:
    import zarr

    names = sorted(name for name, each in group.members() if isinstance(each, zarr.Array) and len(each.shape) > 2)
    if len(names) != 1:
        found = listed(names, 5) or "none of three axes"
        raise InvalidImageError(f"has {len(names)} arrays ({found}); name one as FOLDER.zarr:/NAME")
    return str(names[0])


def _image_of(group: Any) -> tuple[str, list[float]] | None:
    """Return the name of level 0 of an OME-Zarr image, and its spacing along z, y and x in mm; None without one."""
    attributes: Any = dict(group.attrs)
    try:
        image = attributes.get("ome", attributes)["multiscales"][0]
        first = image["datasets"][0]
        steps = next(each["scale"] for each in first["coordinateTransformations"] if each["type"] == "scale")
        units = [MILLIMETRES.get(axis.get("unit", "millimeter"), 1.0) for axis in image["axes"]]
        scale = [float(step) * unit for step, unit in zip(steps, units, strict=True)][-3:]
        return str(first["path"]), scale
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, StopIteration):
        return None


def check_codecs(metadata: Any) -> None:
    """Raise InvalidImageError for codecs other than CODECS, before a chunk is decoded."""
    if metadata.zarr_format == 2:
        codecs = [*(metadata.filters or ()), *([metadata.compressor] if metadata.compressor else ())]
        names = [getattr(codec, "codec_id", type(codec).__name__) for codec in codecs]
    else:
        names = list(_codec_names(metadata.to_dict()["codecs"]))
    unknown = sorted(set(map(str, names)) - CODECS)
    if unknown:
        raise InvalidImageError(f"has the codec {shown(unknown[0])}, which is not supported; save it with zstd or gzip")


def _codec_names(codecs: Iterable[Any]) -> Iterator[str]:
    """Yield the names of the codecs of version 3, also of those inside of a shard."""
    for codec in codecs:
        yield codec["name"].removeprefix("numcodecs.")
        inner = codec.get("configuration", {})
        yield from _codec_names((*inner.get("codecs", ()), *inner.get("index_codecs", ())))


def write_zarr_volume(folder: Path, values: np.ndarray, like: ZarrVolume) -> None:
    """Write values (z, y, x) as a float32 array at the name of the array `like`; OME-Zarr with its spacing. OSError."""
    import zarr

    source: Any = zarr.open(like.folder, mode="r")
    shape = (*[1] * like.extra_axes, *values.shape)
    chunks = (*[1] * (like.extra_axes + 1), *values.shape[1:])
    options: dict[str, Any] = {"shape": shape, "dtype": np.float32, "chunks": chunks}
    if like.name:
        group = zarr.create_group(folder, zarr_format=3)
        array: Any = group.create_array(like.name, **options)
        if metadata := _first_level(dict(source.attrs), like.name):
            group.attrs["ome"] = metadata
    else:
        array = zarr.create_array(folder, zarr_format=3, **options)
        array.attrs.update(dict(source.attrs))
    leading: Sequence[int] = [0] * like.extra_axes
    for position in range(values.shape[0]):
        array[(*leading, position)] = values[position]


def _first_level(attributes: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Return the metadata of OME-Zarr 0.5 for level 0 alone; None if there are none."""
    scales = attributes.get("ome", attributes).get("multiscales")
    if not scales or not isinstance(scales, list):
        return None
    first = {**scales[0], "datasets": [each for each in scales[0].get("datasets", []) if each.get("path") == name]}
    first.pop("version", None)
    return {"version": "0.5", "multiscales": [first]}
