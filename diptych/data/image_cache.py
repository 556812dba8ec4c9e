"""A cache of training images in memory that all data workers share: an image is decoded and resized once, not always.

Each image has a fixed place in one anonymous mapping, which worker processes inherit when they are forked. There is no
lock: whoever prepares an image first writes it, two that do it at once write the same bytes, and a mark that is written
last says that it is complete. So a worker can be killed at any time. If the images need more than the limit, those
that fit are kept, and the others are prepared each time.
"""

import mmap
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.data.dataset import Split
from diptych.data.image_columns import ImageFiles
from diptych.data.images.class_maps import IDS
from diptych.data.images.transforms import Augment

Key = tuple[int, str, int]  # number of the data set, column, load_size
HEADER = 64  # bytes before each image: its mark, and the rest for alignment
EMPTY, ROWS, PLANES = 0, 1, 2  # the mark: nothing yet, stored as (H, W, C), stored as (C, H, W)
_barrier = threading.Lock()  # taking it orders the writes of this process for all others


class _Memory:
    """Zeroed memory that forked processes share. Processes that are started anew have a part of the limit each."""

    def __init__(self, size: int, limit: int, processes: int) -> None:
        """`size` are the bytes needed, `limit` those allowed for `processes` together."""
        self.size, self.limit, self.processes = size, limit, processes
        self.end = min(size, limit)
        self.bytes = np.frombuffer(mmap.mmap(-1, max(1, self.end)), np.uint8)  # pages are taken when they are written

    def __reduce__(self) -> tuple[Any, ...]:
        return _Memory, (self.size, self.limit // self.processes, 1)


@dataclass(frozen=True)
class CachedImages:
    """The places of the images of one column."""

    memory: _Memory
    starts: np.ndarray  # (N,) int64: position in the memory
    shapes: np.ndarray  # (N, 3) int32: height, width and channels
    dtypes: Sequence[np.dtype[Any]]

    def get(self, index: int) -> np.ndarray | None:
        """Return an image (H, W, C), to be read only; None if it is not there yet, or has no place."""
        place = self._place(index)
        if place is None or place[0] == EMPTY:
            return None
        height, width, channels = self.shapes[index].tolist()
        pixels = place[HEADER:].view(self.dtypes[index])
        if place[0] == ROWS:
            return pixels.reshape(height, width, channels)
        return pixels.reshape(channels, height, width).transpose(1, 2, 0)

    def put(self, index: int, image: np.ndarray) -> None:
        """Keep an image (H, W, C) in its order in memory. One without a place is not kept."""
        place = self._place(index)
        if place is None or image.dtype != self.dtypes[index] or image.shape != tuple(self.shapes[index].tolist()):
            return
        planes = image.transpose(2, 0, 1)
        in_planes = planes.flags.c_contiguous and not image.flags.c_contiguous
        place[HEADER:].view(image.dtype)[:] = (planes if in_planes else image).reshape(-1)
        with _barrier:
            pass
        place[0] = PLANES if in_planes else ROWS

    def _place(self, index: int) -> np.ndarray | None:
        """Return the bytes of an image, with its header; None if it has no place."""
        start = int(self.starts[index])
        stop = start + HEADER + int(self.shapes[index].prod()) * self.dtypes[index].itemsize
        return self.memory.bytes[start:stop] if stop <= self.memory.end else None


def cache_images(
    splits: Sequence[Split],
    augments: Sequence[Augment],
    decoded: bool,
    limit: int,
    processes: int,
) -> dict[Key, CachedImages]:
    """Return the cache of the columns of image files that were scanned, one per data set, column and `load_size`.

    Args:
        splits: The data sets.
        augments: The augmentations that a training uses. Images are kept as each of them prepares them.
        decoded: Whether images are kept as they are decoded, for a transform of the user.
        limit: The most memory, in bytes.
        processes: The number of processes that load images.
    """
    columns = {
        (number, name, augment.load_size): _expected(column, None if decoded else augment)
        for augment in augments
        for number, split in enumerate(splits)
        for name, column in split.columns.items()
        if isinstance(column, ImageFiles) and column.entries
    }
    if not columns or limit <= 0:
        return {}
    # Index by index over all columns: where not all images fit, the two images of a pair do or do not together.
    sizes = np.zeros((max(len(dtypes) for _, dtypes in columns.values()), len(columns)), np.int64)
    for number, (shapes, dtypes) in enumerate(columns.values()):
        sizes[: len(dtypes), number] = HEADER + shapes.prod(1, dtype=np.int64) * [dtype.itemsize for dtype in dtypes]
    sizes = -(-sizes // HEADER) * HEADER
    ends = sizes.cumsum().reshape(sizes.shape)
    try:
        memory = _Memory(int(ends[-1, -1]), limit, processes)
    except OSError:  # the system grants no such mapping: images are prepared each time
        return {}
    starts = ends - sizes
    return {
        key: CachedImages(memory, starts[: len(dtypes), number], shapes, dtypes)
        for number, (key, (shapes, dtypes)) in enumerate(columns.items())
    }


def _expected(column: ImageFiles, augment: Augment | None) -> tuple[np.ndarray, list[np.dtype[Any]]]:
    """Return the shape (N, 3) and dtype of each image of a column, decoded, or as `augment` prepares it."""
    halves, encoding, infos = 1 if column.half is None else 2, column.encoding, [each.info for each in column.entries]
    sizes = [(info.height, max(1, info.width // halves)) for info in infos]
    if augment:
        sizes = [augment.prepared_size(*size) for size in sizes]
    channels = 1 if encoding.num_classes else 4 if encoding.alpha else None
    shapes = [(*size, channels or info.channels) for size, info in zip(sizes, infos, strict=True)]
    dtype = IDS if encoding.num_classes else np.dtype(np.float32) if encoding.value_range else None
    known: Mapping[str, np.dtype[Any]] = {name: np.dtype(name) for name in {info.dtype for info in infos}}
    return np.array(shapes, np.int32), [dtype or known[info.dtype] for info in infos]
