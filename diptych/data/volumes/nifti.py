"""NIfTI volumes (.nii, .nii.gz), read by nibabel's header and mapped into memory."""

import gzip
import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.checks.manifest import cache_folder
from diptych.data.images.stored_values import InvalidImageError
from diptych.data.volumes.geometry import Geometry
from diptych.data.volumes.volume import finite, science_extra, volume_errors
from diptych.system.atomic_files import atomic_write, make_folder, remove_leftovers

NOTE = b"NOT FOR DIAGNOSTIC USE"  # in the description of the header
UNUSED_DAYS = 30  # after which an unpacked copy is removed
CHUNK = 2**24  # bytes unpacked at once
MAX_TRAILER = 2**26  # bytes after the values that are read, such as padding
MILLIMETRES = {"meter": 1000.0, "micron": 0.001}  # of a unit of length; of others 1


@dataclass(frozen=True)
class NiftiVolume:
    """A NIfTI volume. Values are scaled by the slope and intercept of the header."""

    path: Path
    geometry: Geometry
    patient_id: str

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def plane(self, axis: int, position: int) -> np.ndarray:
        with volume_errors(self.path):
            stored, slope, intercept = _mapped(self.path, os.stat(self.path).st_mtime_ns)
            plane = np.take(stored, position, axis).astype(np.float64)
            return finite(plane * slope + intercept, self.path, f"the plane {position} of axis {axis}")


def open_nifti(path: Path) -> NiftiVolume:
    """Return a volume, by its header. Raises InvalidImageError, OSError, and nibabel's errors."""
    with science_extra("NIfTI files"):
        import nibabel
    image: Any = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Image):
        raise InvalidImageError("is not a NIfTI file; convert it")
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise InvalidImageError(f"has the shape {image.shape}; expected one volume of three axes: split it into files")
    dtype = image.get_data_dtype()
    if dtype.kind not in "iuf":
        raise InvalidImageError(f"has voxels of {dtype}; expected one number a voxel")
    unit = str(image.header.get_xyzt_units()[0])
    affine = np.array(image.affine, float)
    affine[:3] *= MILLIMETRES.get(unit, 1.0)
    geometry = Geometry.of(shape, affine)
    if path.suffix.lower() != ".gz" and path.stat().st_size < _end(image):
        raise InvalidImageError("is cut short: it holds fewer values than its header says; copy or export it again")
    return NiftiVolume(path, geometry, name_of(path))


def name_of(path: Path) -> str:
    """Return the name of a volume without its suffix."""
    name = path.name
    for suffix in (".nii.gz", ".nii", ".h5", ".hdf5", ".zarr"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


@lru_cache(maxsize=16)
def _mapped(path: Path, mtime_ns: int) -> tuple[np.ndarray, float, float]:
    """Return the stored values (I, J, K) mapped into memory, and their slope and intercept.

    A .gz file is unpacked once into the cache folder: its slices cannot be read one by one.
    """
    import nibabel

    file = _unpacked(path, mtime_ns) if path.suffix.lower() == ".gz" else path
    image: Any = nibabel.load(file)
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    shape = open_nifti(path).geometry.shape
    stored = np.memmap(file, image.get_data_dtype(), "r", image.dataobj.offset, shape, "F")
    return stored, float(slope), float(intercept)


def _unpacked(path: Path, mtime_ns: int) -> Path:
    """Return the unpacked copy of a .nii.gz file in the cache folder, which is written if it is missing."""
    import nibabel

    facts = f"{path.resolve()} {path.stat().st_size} {mtime_ns}"
    target = cache_folder() / "volumes" / f"{hashlib.sha256(os.fsencode(facts)).hexdigest()[:32]}.nii"
    if target.is_file():
        with suppress(OSError):  # of a cache that others own
            os.utime(target)  # the time of the last use
        return target
    remove_leftovers(target.parent)
    _remove_unused(target.parent)
    expected = _end(nibabel.load(path))
    make_folder(target.parent)
    with gzip.open(path, "rb") as packed, atomic_write(target, durable=False) as part, part.open("wb") as unpacked:
        size = 0
        while size < expected and (data := packed.read(min(CHUNK, expected - size))):
            unpacked.write(data)
            size += len(data)
        if size < expected:
            raise InvalidImageError("is cut short: it holds fewer values than its header says; copy or export it again")
        for _ in range(MAX_TRAILER // CHUNK):  # to the end of the file, where gzip compares its checksum
            if not packed.read(CHUNK):
                break
        unpacked.flush()
    return target


def _remove_unused(folder: Path) -> None:
    """Remove the copies in the cache folder that were not opened for UNUSED_DAYS."""
    oldest = time.time() - UNUSED_DAYS * 24 * 3600
    for file in folder.glob("*.nii"):
        with suppress(OSError):
            if file.stat().st_mtime < oldest:
                file.unlink()


def _end(image: Any) -> int:
    """Return the number of bytes up to the last value, as the header says."""
    size = int(np.prod([float(length) for length in image.shape])) * image.get_data_dtype().itemsize
    return int(image.dataobj.offset) + size


def write_nifti(path: Path, values: np.ndarray, geometry: Geometry, like: Path | None) -> None:
    """Write stored values (I, J, K) as float32, in bounded memory; with the header of the NIfTI file `like`, if given.

    The file has the affine of `geometry` and the note that it is not for diagnostic use. OSError.
    """
    import nibabel

    header, affine = None, np.array(geometry.affine)
    if like is not None:
        source: Any = nibabel.load(like)
        header, affine = source.header.copy(), source.affine
        header["cal_min"] = header["cal_max"] = 0
        header["aux_file"] = b""
    image: Any = nibabel.Nifti1Image(values, affine, header, dtype=np.float32)
    image.header.set_data_dtype(np.float32)
    image.header.set_slope_inter(1, 0)
    image.header["descrip"] = NOTE
    if like is None:
        image.header.set_xyzt_units("mm")
    image.to_filename(path)
