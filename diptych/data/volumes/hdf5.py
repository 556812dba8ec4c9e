"""Volumes in HDF5 files, axes (z, y, x). Nothing outside of the file is read."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images.stored_values import InvalidImageError
from diptych.data.volumes.geometry import Geometry
from diptych.data.volumes.nifti import name_of
from diptych.data.volumes.volume import finite, science_extra, volume_errors
from diptych.errors import listed, printable, shown

MAX_NAMES = 1000  # objects of a file that are looked at
MAX_CHUNK = 2**30  # bytes
SIZE = "element_size_um"  # attribute of Fiji's HDF5 plugin: the size of a voxel along z, y and x
MICROMETRE = 1e-3  # in mm
ARRAY_AFFINE = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float)  # slices as stored


@dataclass(frozen=True)
class Hdf5Volume:
    """A data set (z, y, x) of numbers in an HDF5 file. Its spacing is its attribute SIZE, or else counts as 1 mm."""

    file: Path
    name: str  # of the data set, such as /raw
    geometry: Geometry
    patient_id: str

    @property
    def path(self) -> Path:
        return self.file

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.file,)

    def plane(self, axis: int, position: int) -> np.ndarray:
        import h5py

        with volume_errors(f"{self.file}:{self.name}"), h5py.File(self.file, "r") as opened:
            index = tuple(position if number == axis else slice(None) for number in range(3))
            return finite(opened[self.name][index], self.file, f"the plane {position} of axis {axis}")


def open_hdf5(file: Path, name: str = "") -> Hdf5Volume:
    """Return the data set of a name, or the only one of three axes. Raises InvalidImageError, OSError."""
    with science_extra("HDF5 files"):
        import h5py
    with h5py.File(file, "r") as opened:
        names = _volumes_in(opened)
        name = "/" + name.strip("/") if name else ""
        if not name and len(names) != 1:
            found = f"{len(names)} arrays of three axes ({listed(names, 5)})" if names else "no array of three axes"
            example = names[0] if names else "/NAME"
            raise InvalidImageError(f"has {found}; name one as {file.name}:{example}")
        name = name or names[0]
        if name not in names:
            raise InvalidImageError(f"has no array of three axes called {shown(name)}; it has {listed(names, 5)}")
        data = opened[name]
        _check(data, os.stat(file).st_size)
        affine = ARRAY_AFFINE @ np.diag([*_spacing(data), 1.0])
        return Hdf5Volume(file, name, Geometry.of(data.shape, affine), name_of(file))


def _spacing(data: Any) -> tuple[float, ...]:
    """Return the distance of voxels along z, y and x in mm; 1 without SIZE. InvalidImageError for a damaged one."""
    if SIZE not in data.attrs:
        return 1.0, 1.0, 1.0
    value = np.asarray(data.attrs[SIZE])
    is_valid = value.shape == (3,) and value.dtype.kind in "iuf" and np.isfinite(value).all() and (value > 0).all()
    if not is_valid:
        raise InvalidImageError(
            f"{shown(data.name)} has the attribute {SIZE} {shown(value.tolist())}; expected three lengths above 0, in "
            f"micrometres along z, y and x: correct or remove it"
        )
    return tuple(float(size) * MICROMETRE for size in value)


def _volumes_in(opened: Any) -> list[str]:
    """Return the names of the arrays of three axes, not following links to other files."""
    import h5py

    found: list[str] = []
    waiting = [("", opened)]
    while waiting and len(found) < MAX_NAMES:
        prefix, group = waiting.pop()
        for name in sorted(group)[:MAX_NAMES]:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            each, path = group[name], f"{prefix}/{printable(name)}"
            if isinstance(each, h5py.Group) and path.count("/") < 10:
                waiting.append((path, each))
            elif isinstance(each, h5py.Dataset) and len(each.shape or ()) == 3:
                found.append(path)
    return sorted(found)


def _check(data: Any, size: int) -> None:
    """Raise InvalidImageError for an array that is not read."""
    if data.dtype.kind not in "iuf":
        raise InvalidImageError(f"{shown(data.name)} has values of {shown(str(data.dtype))}; expected numbers")
    if data.external or data.is_virtual:
        raise InvalidImageError(f"{shown(data.name)} has its values in other files; copy them into this one")
    chunk = data.chunks or (1, 1, 1)
    if int(np.prod(np.array(chunk, float))) * data.dtype.itemsize > MAX_CHUNK:
        raise InvalidImageError(f"{shown(data.name)} has chunks {chunk}, which are too large; store it in smaller ones")
    if data.chunks is None and size < data.size * data.dtype.itemsize:
        raise InvalidImageError("is cut short: it holds fewer values than its header says; copy or export it again")


def write_hdf5(path: Path, values: np.ndarray, like: Hdf5Volume) -> None:
    """Write values (z, y, x) as float32 under the name of the data set `like`, with its attributes. OSError."""
    import h5py

    with h5py.File(path, "w") as target, h5py.File(like.file, "r") as source:
        chunks = (1, *values.shape[1:])
        data = target.create_dataset(like.name, values.shape, np.float32, chunks=chunks, compression="gzip")
        for key, value in source[like.name].attrs.items():
            if np.asarray(value).dtype.kind in "iufSU":  # not references to other objects
                data.attrs[key] = value
        for position in range(values.shape[0]):
            data[position] = values[position]
