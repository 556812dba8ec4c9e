"""Sets of pictures as measures take them: uint8, of one size and kind, decoded in threads ahead of the network."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diptych.data.images import image_io
from diptych.errors import EvaluationError
from diptych.system.cpus import cores

BATCH = 32


@dataclass(frozen=True)
class ImageSet:
    """Files of one size and one channel count, (C, H, W) each."""

    files: tuple[Path, ...]
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.files)

    def batches(self, size: int = BATCH) -> Iterator[Tensor]:
        """uint8 (N, C, H, W) in order; the next ones are decoded while one is used. ImageError names a bad file."""
        with ThreadPoolExecutor(cores()) as pool:
            waiting = [pool.submit(_read, file, self.shape) for file in self.files[: 2 * size]]
            for first in range(0, len(self.files), size):
                batch = torch.stack([each.result() for each in waiting[:size]])
                ahead = self.files[first + 2 * size : first + 3 * size]
                waiting = [*waiting[size:], *(pool.submit(_read, file, self.shape) for file in ahead)]
                yield batch

    def all(self) -> Tensor:
        """uint8 (N, C, H, W)."""
        return torch.cat(list(self.batches()))


def image_set(files: Sequence[Path]) -> ImageSet:
    """Look at the headers of all files. EvaluationError names two of different sizes or channel counts."""
    if not files:
        raise EvaluationError("there are no pictures to measure")
    shapes: dict[tuple[int, int, int], Path] = {}
    for file in files:
        header = image_io.probe(file)
        shapes.setdefault((header.channels, header.height, header.width), file)
    if len(shapes) > 1:
        (one, first), (other, second) = list(shapes.items())[:2]
        raise EvaluationError(
            f"the pictures are not alike: {first} is {in_words(one)}, {second} is {in_words(other)}. "
            f"Measures need one size and kind: scale or convert them first"
        )
    return ImageSet(tuple(files), next(iter(shapes)))


def check_same_shape(one: ImageSet, other: ImageSet, channels: bool = True) -> None:
    """EvaluationError if two sets are of different sizes or channel counts: a measure would tell that, and no more.

    Without `channels` only sizes count.
    """
    if (one.shape if channels else one.shape[1:]) != (other.shape if channels else other.shape[1:]):
        raise EvaluationError(
            f"{one.files[0].parent} has pictures that are {in_words(one.shape)}, {other.files[0].parent} such that are "
            f"{in_words(other.shape)}: scale or convert one of them first"
        )


def in_words(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"{width}x{height} {({1: 'grey', 3: 'colour'}).get(channels, f'of {channels} channels')}"


def digest_of_pixels(files: Sequence[Path]) -> str:
    """SHA-256, in hex, of what measures see of pictures of any sizes: shapes and pixels in 8 bits, in this order."""
    with ThreadPoolExecutor(cores()) as pool:
        return hashlib.sha256("".join(pool.map(_digest, files)).encode()).hexdigest()


def _digest(file: Path) -> str:
    pixels = _in_8_bits(image_io.read(file))
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def _read(file: Path, shape: tuple[int, int, int]) -> Tensor:
    pixels = _in_8_bits(image_io.with_channels(image_io.read(file), shape[0], str(file)))
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _in_8_bits(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.uint8 else image_io.from_unit(image_io.to_unit(pixels), np.uint8)
