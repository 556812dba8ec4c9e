"""Multi-frame DICOM files (enhanced CT, MR and PET) as volumes: frames are slices, sorted by position. Only read."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images.stored_values import InvalidImageError
from diptych.data.volumes.dicom_grid import sorted_grid
from diptych.data.volumes.dicom_series import GROUPS, MAX_SLICES, frames_of, rescale_in
from diptych.data.volumes.geometry import Geometry
from diptych.data.volumes.volume import finite, volume_errors

# What a frame has of its own, or all frames share: the sequence of a functional group, and the values in it.
MACROS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
}
NEEDED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
OF_FILE = ("Rows", "Columns", "PhotometricInterpretation", "BitsStored", "PixelRepresentation")


@dataclass(frozen=True)
class DicomFrames:
    """The frames of one file, sorted along their normal; the array axes are columns, rows and slices.

    `frames` are the numbers of the slices in the file, and `scales` their slopes and intercepts.
    """

    path: Path  # of the folder
    file: Path
    geometry: Geometry
    patient_id: str
    frames: tuple[int, ...]
    scales: tuple[tuple[float, float], ...]

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.file,)

    def plane(self, axis: int, position: int) -> np.ndarray:
        if axis == 2:
            return self._slice(position)
        return np.asarray(np.take(_whole(self), position, axis))

    def _slice(self, position: int) -> np.ndarray:
        """Return the values (columns, rows) of a slice in physical units, float32. Raises ImageError."""
        from pydicom.pixels.utils import pixel_array

        slope, intercept = self.scales[position]
        with volume_errors(self.file):
            stored = pixel_array(self.file, index=self.frames[position]).astype(np.float64)
            return finite((stored * slope + intercept).T, self.file, f"frame {self.frames[position] + 1}")


@lru_cache(maxsize=2)
def _whole(volume: DicomFrames) -> np.ndarray:
    """Return all values (columns, rows, slices): a plane across the slices needs each of them."""
    return np.stack([volume.plane(2, position) for position in range(len(volume.frames))], 2)


def open_frames(folder: Path, file: Path, header: Any, patient: str) -> DicomFrames:
    """Return the multi-frame file in a folder, by its header. Raises ImageError."""
    with volume_errors(file):
        frames = _frame_headers(header)
        order, affine = sorted_grid([f"frame {number + 1}" for number in range(len(frames))], frames)
        shape = (int(header.Columns), int(header.Rows), len(frames))
        scales = tuple(rescale_in(frames[index]) for index in order)
        return DicomFrames(folder, file, Geometry.of(shape, affine), patient, tuple(order), scales)


def _frame_headers(data: Any) -> list[Any]:
    """Return a header for each frame, as that of a file with one slice. Raises InvalidImageError."""
    import pydicom

    groups, count = data[GROUPS].value, frames_of(data)
    if len(groups) != count or count > MAX_SLICES:
        raise InvalidImageError(
            f"has {count} frames and {len(groups)} descriptions of frames; expected as many, at most {MAX_SLICES:,}: "
            f"export it again"
        )
    shared = (data.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    headers = []
    for number, group in enumerate(groups):
        header = pydicom.Dataset()
        for name in OF_FILE:
            setattr(header, name, data.get(name))
        for sequence, names in MACROS.items():
            macro = (group.get(sequence) or shared.get(sequence) or [pydicom.Dataset()])[0]
            for name in names:
                if name in macro:
                    setattr(header, name, macro.get(name))
        if missing := [name for name in NEEDED if name not in header]:
            raise InvalidImageError(f"frame {number + 1} has no {missing[0]}, so its place is unknown; export it again")
        headers.append(header)
    return headers
