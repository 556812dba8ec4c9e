"""The position of a volume in space: affine, orientation, spacing; and its slices as images.

World coordinates are those of NIfTI, in mm: x to the right of the patient, y to the front, z to the head (RAS).
Slices are shown as in radiology: axial ones from below, coronal ones from the front. So a NIfTI volume and a DICOM
series of one scan give the same images, however their voxels are stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np

from diptych.data.images.stored_values import InvalidImageError

Axis = Literal["axial", "coronal", "sagittal"]
PLANES: dict[Axis, tuple[int, int, int]] = {  # world axes of the normal, of the rows, and of the columns
    "axial": (2, 1, 0),
    "coronal": (1, 2, 0),
    "sagittal": (0, 2, 1),
}
LETTERS = ("LR", "PA", "IS")
MAX_VOXELS = 2**31  # of a volume; 8 GiB in float32
MIN_DETERMINANT = 1e-6  # of the unit vectors of the array axes
SPACING_TOLERANCE = 0.01  # relative
ANGLE_TOLERANCE = 1.0  # degrees


@dataclass(frozen=True)
class Slicing:
    """How the slices of one axis lie in the stored array: which axis, in which order, and how each is turned.

    `axis` is the array axis of the normal, `backwards` whether slice 0 is at its end. The stored plane is
    transposed, then its rows and columns are flipped, to become the image.
    """

    axis: int
    backwards: bool
    count: int
    transposed: bool
    flips: tuple[bool, bool]

    def position(self, index: int) -> int:
        """Return the position of slice `index` along the array axis."""
        return self.count - 1 - index if self.backwards else index

    def to_image(self, plane: np.ndarray) -> np.ndarray:
        """Return a stored plane as an image (H, W)."""
        image = plane.T if self.transposed else plane
        return image[:: -1 if self.flips[0] else 1, :: -1 if self.flips[1] else 1]

    def to_plane(self, image: np.ndarray) -> np.ndarray:
        """Return an image (H, W) as a stored plane: the inverse of `to_image`."""
        plane = image[:: -1 if self.flips[0] else 1, :: -1 if self.flips[1] else 1]
        return plane.T if self.transposed else plane


@dataclass(frozen=True)
class Geometry:
    """Shape of the stored array, and the affine (4, 4), as rows, from its indices to world coordinates in mm."""

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, shape: Sequence[int], affine: np.ndarray) -> "Geometry":
        """Return the geometry of a stored array. Raises InvalidImageError for a shape or affine that cannot be."""
        if len(shape) != 3 or min(shape) < 1:
            raise InvalidImageError(f"has the shape {tuple(shape)}; expected three axes; save one volume a file")
        if np.prod(np.array(shape, float)) > MAX_VOXELS:
            raise InvalidImageError(f"has the shape {tuple(shape)}, of more than {MAX_VOXELS:,} voxels; cut it")
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        is_finite = np.isfinite(affine).all() and lengths.all()
        if not is_finite or abs(np.linalg.det(affine[:3, :3] / lengths)) < MIN_DETERMINANT:
            raise InvalidImageError("has an affine that is not invertible; set it anew (qform or sform)")
        rows = tuple(tuple(float(value) for value in row) for row in affine)
        return cls((int(shape[0]), int(shape[1]), int(shape[2])), rows)

    @property
    def order(self) -> tuple[tuple[int, bool], ...]:
        """For each world axis, the array axis that is nearest to it, and whether it runs backwards."""
        unit = self._directions()
        nearest = max(permutations(range(3)), key=lambda axes: sum(abs(unit[i, axes[i]]) for i in range(3)))
        return tuple((axis, bool(unit[world, axis] < 0)) for world, axis in enumerate(nearest))

    @property
    def orientation(self) -> str:
        """The directions in which the array axes run, such as `RAS`, `LPS`."""
        letters = ["", "", ""]
        for world, (axis, backwards) in enumerate(self.order):
            letters[axis] = LETTERS[world][not backwards]
        return "".join(letters)

    @property
    def canonical_shape(self) -> tuple[int, ...]:
        """The number of voxels along x, y and z."""
        return tuple(self.shape[axis] for axis, _ in self.order)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """The distance of voxels along x, y and z, in mm."""
        lengths = np.linalg.norm(np.array(self.affine)[:3, :3], axis=0)
        x, y, z = (float(lengths[axis]) for axis, _ in self.order)
        return x, y, z

    def slicing(self, axis: Axis) -> Slicing:
        """Return how the slices of an axis lie in the stored array."""
        normal, rows, columns = (self.order[world] for world in PLANES[axis])
        # Images run from head to foot, front to back and right to left: against the world axes.
        flips = (not rows[1], not columns[1])
        return Slicing(normal[0], normal[1], self.shape[normal[0]], rows[0] > columns[0], flips)

    def image_size(self, axis: Axis) -> tuple[int, int]:
        """Return the height and width of the slices."""
        _, rows, columns = PLANES[axis]
        return self.canonical_shape[rows], self.canonical_shape[columns]

    def image_spacing(self, axis: Axis) -> tuple[float, float]:
        """Return the distance of the rows and of the columns of slices, in mm."""
        _, rows, columns = PLANES[axis]
        return self.spacing[rows], self.spacing[columns]

    def difference(self, other: "Geometry") -> str:
        """Return how the grid of another volume differs: in shape, spacing or orientation; empty if it does not."""
        if self.canonical_shape != other.canonical_shape:
            return f"the shape {_text(self.canonical_shape)}, not {_text(other.canonical_shape)}"
        if any(abs(a - b) > SPACING_TOLERANCE * a for a, b in zip(self.spacing, other.spacing, strict=True)):
            return f"the spacing {_text(self.spacing)} mm, not {_text(other.spacing)}"
        cosines = (self._canonical_directions() * other._canonical_directions()).sum(0)
        angle = float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))
        if angle > ANGLE_TOLERANCE:
            return f"an orientation that differs by {angle:.1f} degrees"
        return ""

    def __str__(self) -> str:
        return f"{_text(self.canonical_shape)} voxels of {_text(self.spacing)} mm, stored as {self.orientation}"

    def _directions(self) -> np.ndarray:
        """Return the unit vectors of the array axes, as columns."""
        columns = np.array(self.affine)[:3, :3]
        return np.asarray(columns / np.linalg.norm(columns, axis=0))

    def _canonical_directions(self) -> np.ndarray:
        """Return the unit vectors of the axes nearest to x, y and z, running as these do, as columns."""
        unit = self._directions()
        return np.stack([-unit[:, axis] if backwards else unit[:, axis] for axis, backwards in self.order], 1)


def _text(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
