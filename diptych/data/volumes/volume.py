"""The interface of a volume, and the functions that open one by the kind of its file or folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from diptych.data.images.stored_file import image_errors
from diptych.data.images.stored_values import InvalidImageError
from diptych.data.volumes.geometry import Geometry
from diptych.errors import ImageError

ARRAY_SUFFIXES = (".h5", ".hdf5", ".zarr")  # of files that hold arrays by name
SUFFIXES = (".nii", ".nii.gz", *ARRAY_SUFFIXES)
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


class Volume(Protocol):
    """A volume of one value a voxel, in physical units. It holds no open file, and can be sent to other processes."""

    @property
    def path(self) -> Path: ...

    @property
    def geometry(self) -> Geometry: ...

    @property
    def patient_id(self) -> str:
        """What tells the patient from others: the patient's ID in DICOM, else the name of the file."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the volume."""

    def plane(self, axis: int, position: int) -> np.ndarray:
        """Return the values at a position of an array axis: the other two axes in order, float32. ImageError."""


@contextmanager
def volume_errors(path: Path | str) -> Iterator[None]:
    """Convert any exception in the block to an ImageError that names `path`; those of single files stay as they are."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        with image_errors(path, "is damaged, cut short or of unknown kind", "export it again"):
            raise error


@contextmanager
def science_extra(kind: str) -> Iterator[None]:
    """Convert a failed import in the block to an InvalidImageError with the command that installs the extra."""
    try:
        yield
    except ImportError as error:
        library = (error.name or "a library").partition(".")[0]
        raise InvalidImageError(f"{kind} need {library}: pip install 'diptych[science]'") from error


def open_volume(path: Path | str) -> Volume:
    """Return a volume: a .nii, .nii.gz, .h5 or .zarr file, `file.h5:/path/of/array`, or the folder of a DICOM series.

    Headers are read and checked, values are not. Raises ImageError.
    """
    path = Path(path).expanduser()
    with volume_errors(path):
        file, inner = array_path(path)
        name = file.name.lower()
        if name.endswith((".nii", ".nii.gz")):
            from diptych.data.volumes.nifti import open_nifti

            return open_nifti(file)
        if name.endswith((".h5", ".hdf5")):
            from diptych.data.volumes.hdf5 import open_hdf5

            return open_hdf5(file, inner)
        if name.endswith(".zarr"):
            from diptych.data.volumes.zarr_volume import open_zarr

            return open_zarr(file, inner)
        if path.is_dir():
            from diptych.data.volumes.dicom_series import open_series

            return open_series(path)
        raise InvalidImageError(f"no volume by its name; expected {', '.join(SUFFIXES)}, or a folder of DICOM files")


def array_path(path: Path) -> tuple[Path, str]:
    """Return the file and the name of the array in it, of a path such as `file.h5:/raw`; the name may be empty."""
    file, _, inner = str(path).partition(":/")
    return (Path(file), inner) if inner and file.lower().endswith(ARRAY_SUFFIXES) else (path, "")


def is_volume_name(name: str) -> bool:
    """Return whether a name is that of a volume in a file, or of a zarr folder."""
    return name.lower().endswith(SUFFIXES)


def is_dicom_file(path: Path) -> bool:
    """Return whether a file is a DICOM file, by its suffix, or by its first bytes if it has none."""
    if path.suffix:
        return path.suffix.lower() in DICOM_SUFFIXES or (path.suffix[1:].isdecimal() and _has_magic(path))
    return _has_magic(path)


def _has_magic(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def finite(values: np.ndarray, path: Path, what: str) -> np.ndarray:
    """Return values as float32. Raises InvalidImageError if one is not finite."""
    plane = np.asarray(values, np.float32)
    if not np.isfinite(plane).all():
        raise InvalidImageError(f"{what} has values that are not finite (NaN); replace them, such as by the background")
    return plane
