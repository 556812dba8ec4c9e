"""DICOM series: a folder with a file for each slice, sorted by position. What is no regular grid is refused."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images.decode import InvalidImageError
from diptych.data.volumes.geometry import Geometry
from diptych.data.volumes.volume import finite, is_dicom_file, science_extra, volume_errors
from diptych.errors import listed, printable, shown

MAX_SLICES = 10_000
UNEVEN = 0.02  # relative deviation of a distance between slices
ROUNDED = 0.011  # the same in mm: positions are often written with two decimals
TILT = 0.01  # of the distance between slices, that they are shifted in their plane
TAGS = [  # that are read of each file
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "PatientID", "PatientName", "Modality", "Rows", "Columns",
    "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SliceThickness", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation", "NumberOfFrames",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
]  # fmt: skip


@dataclass(frozen=True)
class DicomSeries:
    """A series of slices, sorted along their normal. Values are rescaled.

    Those of MONOCHROME1 without a slope are inverted: without physical units only brightness has a meaning.

    The array axes are columns, rows and slices, as in NIfTI.
    """

    path: Path
    geometry: Geometry
    patient_id: str
    files: tuple[Path, ...]

    def plane(self, axis: int, position: int) -> np.ndarray:
        if axis == 2:
            return read_slice(self.files[position])
        return np.asarray(np.take(_whole(self.files), position, axis))


@lru_cache(maxsize=2)
def _whole(files: tuple[Path, ...]) -> np.ndarray:
    """Return all values (columns, rows, slices): a plane across the slices needs each of them."""
    return np.stack([read_slice(file) for file in files], 2)


def read_slice(file: Path) -> np.ndarray:
    """Return the values (columns, rows) of one file in physical units, float32. Raises ImageError."""
    import pydicom

    with volume_errors(file):
        data = pydicom.dcmread(file)
        stored = data.pixel_array.astype(np.float64)
        if data.PhotometricInterpretation == "MONOCHROME1" and "RescaleSlope" not in data:
            lowest = -(2 ** (data.BitsStored - 1)) if data.PixelRepresentation else 0
            stored = 2 * lowest + 2**data.BitsStored - 1 - stored
        values = stored * float(data.get("RescaleSlope", 1) or 1) + float(data.get("RescaleIntercept", 0) or 0)
        return finite(values.T, file, "it")


def open_series(folder: Path) -> DicomSeries:
    """Return the series in a folder, by its headers. Raises InvalidImageError, OSError, and pydicom's errors."""
    with science_extra("DICOM files"):
        import pydicom  # noqa: F401
    files = sorted(file for file in folder.iterdir() if not file.name.startswith(".") and file.is_file())
    files = [file for file in files if is_dicom_file(file) and file.name != "DICOMDIR"]
    if not files:
        raise InvalidImageError("has no DICOM files; give the folder of one series")
    if len(files) > MAX_SLICES:
        raise InvalidImageError(f"has {len(files):,} DICOM files; the limit is {MAX_SLICES:,}")
    headers = [_header(file) for file in files]
    _check_one_series(files, headers)
    _check_equal(files, headers)
    normal, positions = _positions(headers)
    order = np.argsort(positions, kind="stable")
    files, headers = [files[index] for index in order], [headers[index] for index in order]
    _check_gaps(files, positions[order])
    step = _step(files, headers, normal)
    affine = _affine(headers[0], step)
    patient = str(headers[0].get("PatientID", "") or headers[0].get("PatientName", "") or folder.name).strip()
    shape = (int(headers[0].Columns), int(headers[0].Rows), len(files))
    return DicomSeries(folder, Geometry.of(shape, affine), printable(patient)[:200], tuple(files))


def _header(file: Path) -> Any:
    """Return the checked header of one file. Raises ImageError that names it."""
    import pydicom

    with volume_errors(file):
        data = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=TAGS)
        for name in ("Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            if name not in data:
                raise InvalidImageError(f"has no {name}: it is cut short, or no slice of a volume; remove it")
        frames, samples = int(data.get("NumberOfFrames", 1) or 1), int(data.get("SamplesPerPixel", 1))
        if frames != 1 or samples != 1 or not str(data.PhotometricInterpretation).startswith("MONOCHROME"):
            raise InvalidImageError(
                f"has {frames} frames of {samples} samples a pixel ({shown(str(data.PhotometricInterpretation))}); "
                f"expected one grey slice a file: convert it to single-frame DICOM or to NIfTI"
            )
        if "ModalityLUTSequence" in data:
            raise InvalidImageError("has a table of values (Modality LUT) instead of a slope; convert it to NIfTI")
        _check_pixels(file, data)
        return data


def _check_pixels(file: Path, data: Any) -> None:
    """Raise InvalidImageError if a file is cut short, or compressed and there is no decoder for it."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = data.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax.is_deflated:
        expected = int(data.Rows) * int(data.Columns) * int(data.BitsAllocated) // 8
        if not syntax.is_deflated and os.stat(file).st_size < expected:
            raise InvalidImageError("is cut short: it holds fewer pixels than its header says; copy or export it again")
        return
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise InvalidImageError(f"is compressed as {syntax.name}, which pydicom does not read; decompress it") from None
    if not decoder.is_available:
        raise InvalidImageError(
            f"is compressed as {syntax.name}: pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
        )


def _check_one_series(files: Sequence[Path], headers: Sequence[Any]) -> None:
    """Raise InvalidImageError for files of several series or patients."""
    for name, what in (("SeriesInstanceUID", "series"), ("PatientID", "patients")):
        counts = Counter(str(header.get(name, "")) for header in headers)
        if len(counts) > 1:
            examples = {str(header.get(name, "")): file.name for file, header in zip(files, headers, strict=True)}
            found = listed([f"{count} files as {examples[key]}" for key, count in counts.most_common()], 3)
            raise InvalidImageError(f"has files of {len(counts)} {what} ({found}); move each into a folder of its own")


def _check_equal(files: Sequence[Path], headers: Sequence[Any]) -> None:
    """Raise InvalidImageError if slices differ in size, spacing or orientation."""
    kinds = {
        "size": lambda header: (int(header.Columns), int(header.Rows)),
        "spacing": lambda header: tuple(round(float(value), 4) for value in header.PixelSpacing),
        "orientation": lambda header: tuple(round(float(value), 3) for value in header.ImageOrientationPatient),
    }
    for what, value_of in kinds.items():
        first = value_of(headers[0])
        for file, header in zip(files, headers, strict=True):
            value = value_of(header)
            if not np.allclose(value, first, atol=2e-3 if what == "orientation" else 1e-3):
                raise InvalidImageError(
                    f"{file.name} has the {what} {_numbers(value)}, and {files[0].name} {_numbers(first)}; expected "
                    f"slices of one {what}: remove localizers, or split the series"
                )


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"


def _positions(headers: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the normal of the slices (3,), and their positions along it (N,), in mm."""
    orientation = np.array([float(value) for value in headers[0].ImageOrientationPatient])
    normal = np.cross(orientation[:3], orientation[3:])
    length = float(np.linalg.norm(normal))
    if abs(length - 1) > 0.01:
        raise InvalidImageError("has an ImageOrientationPatient of vectors that are not perpendicular; export it again")
    return normal, np.array([_position(header) @ normal for header in headers])


def _position(header: Any) -> np.ndarray:
    return np.array([float(value) for value in header.ImagePositionPatient])


def _check_gaps(files: Sequence[Path], positions: np.ndarray) -> None:
    """Raise InvalidImageError if slices are missing, occur twice, or are not evenly spaced."""
    if len(files) < 2:
        return
    gaps = np.diff(positions)
    usual, smallest = float(np.median(gaps)), int(gaps.argmin())
    if gaps[smallest] < 1e-3:
        names = f"{files[smallest].name} and {files[smallest + 1].name}"
        raise InvalidImageError(f"{names} are at one position: keep one scan in the folder")
    for index, gap in enumerate(gaps):
        names = f"{files[index].name} and {files[index + 1].name}"
        if abs(gap - usual) <= max(UNEVEN * usual, ROUNDED):
            continue
        missing = round(gap / usual) - 1
        if missing > 0 and abs(gap - (missing + 1) * usual) <= 2 * UNEVEN * usual:
            raise InvalidImageError(
                f"{missing} of {len(files) + missing} slices are missing, between {names}; export the series again"
            )
        raise InvalidImageError(
            f"the distance of slices is {usual:.4g} mm, and {gap:.4g} mm between {names}; expected even spacing: "
            f"resample it to NIfTI"
        )


def _step(files: Sequence[Path], headers: Sequence[Any], normal: np.ndarray) -> np.ndarray:
    """Return the vector from one slice to the next, in mm. Raises InvalidImageError for a gantry tilt."""
    if len(headers) < 2:
        return normal * float(headers[0].get("SliceThickness", 1) or 1)
    step = np.asarray((_position(headers[-1]) - _position(headers[0])) / (len(headers) - 1))
    shift = step - (step @ normal) * normal
    if np.linalg.norm(shift) > TILT * np.linalg.norm(step):
        angle = float(np.degrees(np.arctan2(np.linalg.norm(shift), step @ normal)))
        raise InvalidImageError(
            f"the slices are sheared by {angle:.1f} degrees (gantry tilt); resample it to a regular grid, such as by "
            f"dcm2niix"
        )
    return step


def _affine(first: Any, step: np.ndarray) -> np.ndarray:
    """Return the affine from (column, row, slice) to world coordinates; DICOM's run to the left and to the back."""
    orientation = np.array([float(value) for value in first.ImageOrientationPatient])
    between_rows, between_columns = (float(value) for value in first.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = orientation[:3] * between_columns, orientation[3:] * between_rows
    affine[:3, 2], affine[:3, 3] = step, _position(first)
    affine[:2] *= -1
    return affine
