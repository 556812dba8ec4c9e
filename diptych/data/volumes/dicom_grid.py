"""The grid of DICOM slices, by the headers of files or frames. What is no regular grid is refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from diptych.data.images.stored_values import InvalidImageError

UNEVEN = 0.02  # relative deviation of a distance between slices
ROUNDED = 0.011  # the same in mm: positions are often written with two decimals
TILT = 0.01  # of the distance between slices, that they are shifted in their plane


def sorted_grid(names: Sequence[str], headers: Sequence[Any]) -> tuple[list[int], np.ndarray]:
    """Return the order of slices along their normal, and the affine (4, 4) from (column, row, slice) to RAS, in mm.

    `headers` have the size, spacing, orientation and position of each slice, and `names` are those for errors. Raises
    InvalidImageError.
    """
    _check_equal(names, headers)
    normal, positions = _positions(headers)
    order = np.argsort(positions, kind="stable").tolist()
    headers = [headers[index] for index in order]
    _check_gaps([names[index] for index in order], positions[order])
    return order, _affine(headers[0], _step(headers, normal))


def _check_equal(names: Sequence[str], headers: Sequence[Any]) -> None:
    """Raise InvalidImageError if slices differ in size, spacing or orientation."""
    kinds = {
        "size": lambda header: (int(header.Columns), int(header.Rows)),
        "spacing": lambda header: tuple(round(float(value), 4) for value in header.PixelSpacing),
        "orientation": lambda header: tuple(round(float(value), 3) for value in header.ImageOrientationPatient),
    }
    for what, value_of in kinds.items():
        first = value_of(headers[0])
        for name, header in zip(names, headers, strict=True):
            value = value_of(header)
            if not np.allclose(value, first, atol=2e-3 if what == "orientation" else 1e-3):
                raise InvalidImageError(
                    f"{name} has the {what} {_numbers(value)}, and {names[0]} {_numbers(first)}; expected "
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


def _check_gaps(names: Sequence[str], positions: np.ndarray) -> None:
    """Raise InvalidImageError if slices are missing, occur twice, or are not evenly spaced."""
    if len(names) < 2:
        return
    gaps = np.diff(positions)
    usual, smallest = float(np.median(gaps)), int(gaps.argmin())
    if gaps[smallest] < 1e-3:
        pair = f"{names[smallest]} and {names[smallest + 1]}"
        raise InvalidImageError(f"{pair} are at one position: keep one scan in the folder")
    for index, gap in enumerate(gaps):
        pair = f"{names[index]} and {names[index + 1]}"
        if abs(gap - usual) <= max(UNEVEN * usual, ROUNDED):
            continue
        missing = round(gap / usual) - 1
        if missing > 0 and abs(gap - (missing + 1) * usual) <= 2 * UNEVEN * usual:
            raise InvalidImageError(
                f"{missing} of {len(names) + missing} slices are missing, between {pair}; export the series again"
            )
        raise InvalidImageError(
            f"the distance of slices is {usual:.4g} mm, and {gap:.4g} mm between {pair}; expected even spacing: "
            f"resample it to NIfTI"
        )


def _step(headers: Sequence[Any], normal: np.ndarray) -> np.ndarray:
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
