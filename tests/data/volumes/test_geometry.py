"""Orientation, spacing and slices of volumes, compared with nibabel's."""

from itertools import permutations, product

import numpy as np
import pytest

from diptych.data.images.stored_values import InvalidImageError
from diptych.data.volumes.geometry import PLANES, Geometry

nibabel = pytest.importorskip("nibabel")
STORED = [
    (axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)
]  # the 48 ways to store a volume


def affine(axes, signs, tilt=0.0):
    matrix = np.eye(4)
    for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        matrix[:3, column] = 0
        matrix[axis, column] = sign * (1.5, 2.0, 3.0)[axis]
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    matrix[:3, :3] = turn @ matrix[:3, :3]
    return matrix


def reoriented(values, matrix):
    """The values in RAS order, by nibabel."""
    return np.asarray(nibabel.as_closest_canonical(nibabel.Nifti1Image(values, matrix)).dataobj)


@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_slices_of_any_orientation_are_those_of_nibabel(tilt):
    values = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    for axes, signs in STORED:
        matrix = affine(axes, signs, tilt)
        geometry = Geometry.of(values.shape, matrix)
        canonical = reoriented(values, matrix)
        assert geometry.orientation == "".join(nibabel.aff2axcodes(matrix))
        assert geometry.canonical_shape == canonical.shape
        assert np.allclose(geometry.spacing, (1.5, 2.0, 3.0))
        for axis, (normal, rows, columns) in PLANES.items():
            slicing = geometry.slicing(axis)
            for index in range(slicing.count):
                stored = np.take(values, slicing.position(index), slicing.axis)
                expected = np.take(canonical, index, normal)
                expected = (expected if rows < columns else expected.T)[::-1, ::-1]  # head, front and right come first
                assert (slicing.to_image(stored) == expected).all()
                assert slicing.to_image(stored).shape == geometry.image_size(axis)
                assert (slicing.to_plane(slicing.to_image(stored)) == stored).all()


def test_grids_are_compared_however_they_are_stored():
    first = Geometry.of((2, 3, 4), affine((0, 1, 2), (1, 1, 1)))
    assert first.difference(Geometry.of((4, 3, 2), affine((2, 1, 0), (1, -1, -1)))) == ""
    assert "shape 2 x 3 x 4, not 2 x 3 x 5" in first.difference(Geometry.of((2, 3, 5), affine((0, 1, 2), (1, 1, 1))))
    assert "spacing" in first.difference(Geometry.of((2, 3, 4), 1.1 * affine((0, 1, 2), (1, 1, 1))))
    assert "5.7 degrees" in first.difference(Geometry.of((2, 3, 4), affine((0, 1, 2), (1, 1, 1), 0.1)))


def test_impossible_geometries():
    with pytest.raises(InvalidImageError, match="not invertible"):
        Geometry.of((2, 3, 4), np.zeros((4, 4)))
    with pytest.raises(InvalidImageError, match="three axes"):
        Geometry.of((2, 3), np.eye(4))
    with pytest.raises(InvalidImageError, match="2,147,483,648 voxels"):
        Geometry.of((100_000, 100_000, 10), np.eye(4))
