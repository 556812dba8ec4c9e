"""Columns of images, which are decoded on access."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from diptych.data.checks.manifest import Entry, check_unchanged
from diptych.data.images import image_io
from diptych.data.images.encoding import PLAIN, Encoding
from diptych.data.tasks.pair_side import PairSide
from diptych.errors import DataError

PROBED_FILES = 1000  # files whose headers are read to count channels


class ImageColumn(Sequence[np.ndarray]):
    """A column of images (H, W, C) that are not files, read when they are needed."""

    ndim = 4  # for NumPy: asking for it must read nothing

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Length, height and width of the first image, and channels of all as `channels` counts them."""
        height, width, _ = self[0].shape
        return len(self), height, width, self.channels()

    encoding: Encoding = PLAIN  # of the images that are returned

    def channels(self) -> int:
        """Return the channels of the images."""
        raise NotImplementedError

    def concat(self, other: "ImageColumn") -> "ImageColumn":
        """Return the column of these images, and then of those of a column of the same kind that are not among them."""
        raise NotImplementedError

    def take(self, indices: Sequence[int]) -> "ImageColumn":
        """Return the column of the images at these indices."""
        raise NotImplementedError


@dataclass(frozen=True)
class ImageFiles(Sequence[np.ndarray]):
    """The decoded images of one domain, each (H, W, C). `half` 0 or 1 selects the left or right half of each file.

    `entries` are the scan results of the files, in the same order: with them, a file that changed since the scan
    raises DataError. `encoding` maps stored pixel values to network values. With a `side`, what the networks get is
    computed from the photographs of this column: one side of the pairs of a task.
    """

    files: tuple[Path, ...]
    half: int | None = None
    entries: tuple[Entry, ...] = field(default=(), compare=False, repr=False)
    encoding: Encoding = PLAIN
    side: PairSide | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        return self.encoding.decode(self.stored(index, self.encoding.kind), self.files[index])

    def stored(self, index: int, kind: image_io.Kind) -> np.ndarray:
        """Return the pixels of an image (H, W, C) as `image_io.read` gives them."""
        file = self.files[index]
        if self.entries:
            check_unchanged(file, self.entries[index])
        if self.half is None:
            return image_io.read(file, kind)
        return self._half_of(_last_read(file, kind))

    def valid(self, index: int) -> np.ndarray | None:
        """Return a mask (H, W) of the pixels of an image with data; None if all have, or the file was not scanned."""
        if not self.entries or not self.entries[index].info.invalid:
            return None
        mask = image_io.valid_pixels(self.files[index])
        return mask if mask is None or self.half is None else self._half_of(mask)

    @cached_property
    def has_nodata(self) -> bool:
        """Whether a scanned file has pixels without data."""
        return any(entry.info.invalid for entry in self.entries)

    def _half_of(self, array: np.ndarray) -> np.ndarray:
        middle = array.shape[1] // 2
        return array[:, :middle] if self.half == 0 else array[:, -middle:]

    def name(self, index: int) -> str:
        """Return the path of an image, for error messages."""
        return str(self.files[index])

    def channels(self) -> int:
        """Return the number of channels, from the headers of the first thousand files; 3 if grey and colour mix.

        An encoding with classes or alpha determines it alone. Raises DataError for any other mix.
        """
        return self.side.channels(self._channels_of_files()) if self.side else self._channels_of_files()

    def _channels_of_files(self) -> int:
        if self.encoding.channels:
            return self.encoding.channels
        examples = {image_io.probe(file, "values").channels: file for file in reversed(self.files[:PROBED_FILES])}
        if len(examples) > 1 and set(examples) != {1, 3}:
            counts = ", ".join(f"{count} in {file}" for count, file in sorted(examples.items()))
            raise DataError(f"the images of one domain have different channel counts: {counts}")
        return max(examples)


_last_read = lru_cache(maxsize=1)(image_io.read)  # the two halves of a file are read one after the other
