"""Slices of volumes as a column of images, each with its neighbours as channels."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from diptych.data.image_columns import ImageColumn
from diptych.data.images.encoding import PLAIN, Encoding
from diptych.data.volumes.geometry import Axis
from diptych.data.volumes.volume import Volume

HASHED_BLOCKS, HASHED_BYTES = 16, 65536  # of each file, evenly spaced, by which a change is noticed


@dataclass(frozen=True, eq=False)
class VolumeSlices(ImageColumn):
    """A column of slices (H, W, 2 * context + 1), float32, in physical units or as `encoding` maps them to 0..1.

    `rows` (N, 2) are the numbers of volume and slice. The channels are the slice and `context` neighbours on each side
    in the order of their position; at the ends of a volume its last slice is repeated.
    """

    volumes: tuple[Volume, ...]
    axis: Axis
    rows: np.ndarray = field(repr=False)
    context: int = 0
    encoding: Encoding = PLAIN

    @classmethod
    def of(cls, volumes: Sequence[Volume], axis: Axis, context: int = 0) -> "VolumeSlices":
        """Return all slices of volumes. Any number of first rows are spread over the volumes, and over each of them."""
        parts = []
        for number, volume in enumerate(volumes):
            order = _spread_order(volume.geometry.slicing(axis).count)
            rank = (np.arange(len(order)) + 0.5) / len(order)
            parts.append(np.stack([rank, np.full(len(order), number), order], 1))
        joined = np.concatenate(parts) if parts else np.zeros((0, 3))
        rows = joined[np.lexsort((joined[:, 1], joined[:, 0]))][:, 1:].astype(int)
        return cls(tuple(volumes), axis, rows, context)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        number, position = self.rows[index].tolist()
        stack = read_stack(self.volumes[number], self.axis, position, self.context)
        return self.encoding.decode(stack, self.name(index))

    def name(self, index: int) -> str:
        """Return the volume and the number of a slice, for error messages."""
        number, position = self.rows[index].tolist()
        return f"{self.volumes[number].path}, {self.axis} slice {position}"

    def channels(self) -> int:
        return 2 * self.context + 1

    def take(self, indices: Sequence[int] | np.ndarray) -> "VolumeSlices":
        return replace(self, rows=self.rows[np.asarray(indices, int)])

    def concat(self, other: ImageColumn) -> "VolumeSlices":
        assert isinstance(other, VolumeSlices)
        if set(other.volumes) <= set(self.volumes):
            return self
        more = other.rows + np.array([len(self.volumes), 0])
        return replace(self, volumes=self.volumes + other.volumes, rows=np.concatenate([self.rows, more]))

    def limits(self) -> Iterator[tuple[float, float]]:
        """Yield the lowest and highest value of each volume in physical units."""
        for volume in self.volumes:
            planes = list(planes_of(volume))
            yield min(low for low, _ in planes), max(high for _, high in planes)

    def sizes(self) -> list[tuple[int, int]]:
        """Return the height and width of the slices of each volume."""
        return [volume.geometry.image_size(self.axis) for volume in self.volumes]

    def spacings(self) -> list[tuple[float, float]]:
        """Return the distance of rows and of columns of the slices of each volume, in mm."""
        return [volume.geometry.image_spacing(self.axis) for volume in self.volumes]


def read_stack(volume: Volume, axis: Axis, index: int, context: int = 0) -> np.ndarray:
    """Return a slice with its neighbours (H, W, 2 * context + 1), float32 in physical units. Raises ImageError."""
    slicing = volume.geometry.slicing(axis)
    near = np.clip(np.arange(index - context, index + context + 1), 0, slicing.count - 1).tolist()
    planes = {each: slicing.to_image(volume.plane(slicing.axis, slicing.position(each))) for each in set(near)}
    return np.ascontiguousarray(np.stack([planes[each] for each in near], 2))


def planes_of(volume: Volume) -> Iterator[tuple[float, float]]:
    """Yield the lowest and highest value of each plane of a volume, along the array axis that is read fastest."""
    axis = _slow_axis(volume)
    for position in range(volume.geometry.shape[axis]):
        plane = volume.plane(axis, position)
        yield float(plane.min()), float(plane.max())


def _slow_axis(volume: Volume) -> int:
    """Return the array axis whose planes lie together in the file."""
    return 0 if volume.path.name.lower().endswith((".h5", ".hdf5", ".zarr")) else 2


@lru_cache(maxsize=64)
def _spread_order(count: int) -> tuple[int, ...]:
    """Return the numbers 0 to count - 1, from the middle outwards into ever finer gaps (van der Corput's sequence)."""
    bits = max(1, (count - 1).bit_length())
    reversed_bits = [int(f"{number:0{bits}b}"[::-1], 2) for number in range(1, 2**bits)] + [0]
    return tuple(number for number in reversed_bits if number < count)


def fingerprint_of_volumes(volumes: Iterable[Volume]) -> str:
    """Return a hash of the files of volumes: the length and sixteen blocks of each, by which changes are noticed."""
    digest = hashlib.sha256()
    for volume in volumes:
        for file in volume.files:
            digest.update(f"{file.relative_to(volume.path.parent).as_posix()}\0".encode(errors="surrogateescape"))
            digest.update(_digest_of(file))
    return digest.hexdigest()


def _digest_of(file: Path) -> bytes:
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as opened:
        last = max(0, size - HASHED_BYTES)
        for start in dict.fromkeys(number * last // (HASHED_BLOCKS - 1) for number in range(HASHED_BLOCKS)):
            opened.seek(start)
            digest.update(opened.read(HASHED_BYTES))
    return digest.digest()
