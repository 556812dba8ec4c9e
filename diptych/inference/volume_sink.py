"""Write a volume that is complete or absent, from values on the disk, in the format of its name."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from diptych.data.images.stored_file import image_errors
from diptych.data.volumes.dicom_frames import DicomFrames
from diptych.data.volumes.dicom_series import DicomSeries
from diptych.data.volumes.dicom_writer import write_series
from diptych.data.volumes.hdf5 import Hdf5Volume, write_hdf5
from diptych.data.volumes.nifti import NiftiVolume, write_nifti
from diptych.data.volumes.volume import Volume
from diptych.data.volumes.zarr_volume import ZarrVolume, write_zarr_volume
from diptych.errors import ConfigError
from diptych.inference.formats.partial_sink import replace, sync_all
from diptych.system.atomic_files import PART, make_folder, remove_leftovers, sync

NIFTI = (".nii", ".nii.gz")
HDF5 = (".h5", ".hdf5")


def check_target(target: Path, source: Volume) -> None:
    """Raise ConfigError if a volume is not written in the format of the name `target`.

    NIfTI is written from any volume, other formats only from volumes of the same format.
    """
    name = target.name.lower()
    if name.endswith(NIFTI) or (name.endswith(HDF5) and isinstance(source, Hdf5Volume)):
        return
    if name.endswith(".zarr") and isinstance(source, ZarrVolume):
        return
    if isinstance(source, DicomSeries) and target.suffix.lower() not in (*HDF5, ".zarr"):
        return
    if isinstance(source, DicomFrames):
        raise ConfigError(f"{target}: {source.file} is multi-frame DICOM, which is only read; give --suffix .nii.gz")
    raise ConfigError(f"{target}: {source.path} is not written in this format; use its own, or --suffix .nii.gz")


@contextmanager
def volume_sink(target: Path, source: Volume, value_range: tuple[float, float]) -> Iterator[np.ndarray]:
    """Yield an array of the stored shape of `source` to fill; it becomes the volume `target` if no error is raised.

    The array is a temporary file. Geometry and metadata are those of `source`. `value_range` is that of the values,
    for formats of integers. Raises ImageError, ConfigError.
    """
    check_target(target, source)
    with image_errors(target, "cannot be written", "check the folder and the free space"):
        make_folder(target.parent)
        remove_leftovers(target.parent)
        folder = target.with_name(f".{target.name}.{os.getpid()}{PART}")
        folder.mkdir(exist_ok=True)
    try:
        with image_errors(target, "cannot be written", "check the folder and the free space"):
            values = _temporary(folder / "values", source.geometry.shape)
        yield values
        with image_errors(target, "cannot be written", "check the folder and the free space"):
            part = folder / target.name
            _write(part, values, source, value_range)
            sync_all(part)
            replace(part, target)
            sync(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Return zeros, float32, mapped to a file whose space is reserved: a full disk is an error here, no crash later."""
    size = int(np.prod(shape)) * 4
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
    return np.memmap(path, np.float32, "r+", 0, shape, "F")


def _write(part: Path, values: np.ndarray, source: Volume, value_range: tuple[float, float]) -> None:
    name = part.name.lower()
    if name.endswith(NIFTI):
        write_nifti(part, values, source.geometry, source.path if isinstance(source, NiftiVolume) else None)
    elif isinstance(source, Hdf5Volume):
        write_hdf5(part, values, source)
    elif isinstance(source, ZarrVolume):
        write_zarr_volume(part, values, source)
    elif isinstance(source, DicomSeries):
        part.mkdir()
        write_series(part, values, source, value_range)
