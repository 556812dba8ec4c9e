"""DICOM series: a folder with a file for each slice, sorted by position, or with one multi-frame file."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.data.images.stored_values import InvalidImageError
from diptych.data.volumes.dicom_grid import sorted_grid
from diptych.data.volumes.geometry import Geometry
from diptych.data.volumes.volume import finite, is_dicom_file, science_extra, volume_errors
from diptych.errors import listed, printable, shown

if TYPE_CHECKING:
    from diptych.data.volumes.dicom_frames import DicomFrames

MAX_SLICES = 10_000
TAGS = [  # that are read of each file
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "PatientID", "PatientName", "Modality", "Rows", "Columns",
    "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SliceThickness", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation", "NumberOfFrames",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
GROUPS = "PerFrameFunctionalGroupsSequence"  # which a multi-frame file has where its frames have positions


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
        slope, intercept = rescale_in(data)
        return finite((data.pixel_array.astype(np.float64) * slope + intercept).T, file, "it")


def rescale_in(data: Any) -> tuple[float, float]:
    """Return the slope and intercept of stored values; those that invert them for MONOCHROME1 without a slope."""
    intercept = float(data.get("RescaleIntercept", 0) or 0)
    if data.PhotometricInterpretation == "MONOCHROME1" and "RescaleSlope" not in data:
        lowest = -(2 ** (data.BitsStored - 1)) if data.PixelRepresentation else 0
        return -1.0, 2 * lowest + 2**data.BitsStored - 1 + intercept
    return float(data.get("RescaleSlope", 1) or 1), intercept


def open_series(folder: Path) -> "DicomSeries | DicomFrames":
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
    patient = str(headers[0].get("PatientID", "") or headers[0].get("PatientName", "") or folder.name).strip()
    patient = printable(patient)[:200]
    if multi_frame := [file for file, header in zip(files, headers, strict=True) if GROUPS in header]:
        from diptych.data.volumes.dicom_frames import open_frames

        if len(files) > 1:
            raise InvalidImageError(
                f"has {len(files)} files, and {multi_frame[0].name} is a multi-frame file, a volume itself; move each "
                f"into a folder of its own"
            )
        return open_frames(folder, files[0], headers[0], patient)
    _check_positions(files, headers)
    order, affine = sorted_grid([file.name for file in files], headers)
    shape = (int(headers[0].Columns), int(headers[0].Rows), len(files))
    return DicomSeries(folder, Geometry.of(shape, affine), patient, tuple(files[index] for index in order))


def _header(file: Path) -> Any:
    """Return the checked header of one file. Raises ImageError that names it."""
    import pydicom

    with volume_errors(file):
        data = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=TAGS)
        for name in ("Rows", "Columns"):
            if name not in data:
                raise InvalidImageError(f"has no {name}: it is cut short, or no image; remove it")
        frames, samples = frames_of(data), int(data.get("SamplesPerPixel", 1))
        if samples != 1 or not str(data.PhotometricInterpretation).startswith("MONOCHROME"):
            raise InvalidImageError(
                f"has {samples} samples a pixel ({shown(str(data.PhotometricInterpretation))}); expected grey slices: "
                f"convert it"
            )
        if frames != 1 and GROUPS not in data:
            raise InvalidImageError(
                f"has {frames} frames without positions, such as a film; expected slices of a volume: save its frames "
                f"as images"
            )
        if "ModalityLUTSequence" in data:
            raise InvalidImageError("has a table of values (Modality LUT) instead of a slope; convert it to NIfTI")
        _check_pixels(file, data)
        return data


def frames_of(data: Any) -> int:
    """Return the number of frames of a file."""
    return int(data.get("NumberOfFrames", 1) or 1)


def _check_positions(files: Sequence[Path], headers: Sequence[Any]) -> None:
    """Raise InvalidImageError for slices whose place in the patient is not known."""
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        without = [file for file, header in zip(files, headers, strict=True) if name not in header]
        if len(without) == len(files):
            raise InvalidImageError(
                f"has no {name}, so order, distance or orientation of its slices are unknown, and are not guessed from "
                f"their numbers: export the series with its geometry, or convert it to NIfTI; save single pictures "
                f"such as X-rays as images"
            )
        if without:
            raise InvalidImageError(f"{without[0].name} has no {name}, unlike other slices: remove it")


def _check_pixels(file: Path, data: Any) -> None:
    """Raise InvalidImageError if a file is cut short, or compressed and there is no decoder for it."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = data.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax.is_deflated:
        expected = int(data.Rows) * int(data.Columns) * int(data.BitsAllocated) // 8 * frames_of(data)
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
