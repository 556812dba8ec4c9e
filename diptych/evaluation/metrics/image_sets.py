"""Sets of image files of one size, read as uint8 batches; threads decode the next batches while one is used."""

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

BATCH_SIZE = 32


@dataclass(frozen=True)
class ImageSet:
    """Files of one size and one channel count, (C, H, W) each."""

    files: tuple[Path, ...]
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.files)

    def batches(self, size: int = BATCH_SIZE) -> Iterator[Tensor]:
        """Yield uint8 (N, C, H, W) in order. ImageError names a file that cannot be read."""
        with ThreadPoolExecutor(cores()) as pool:
            waiting = [pool.submit(_read, file, self.shape) for file in self.files[: 2 * size]]
            for first in range(0, len(self.files), size):
                batch = torch.stack([future.result() for future in waiting[:size]])
                ahead = self.files[first + 2 * size : first + 3 * size]
                waiting = [*waiting[size:], *(pool.submit(_read, file, self.shape) for file in ahead)]
                yield batch

    def all(self) -> Tensor:
        """Return all images, uint8 (N, C, H, W)."""
        return torch.cat(list(self.batches()))


def image_set(files: Sequence[Path]) -> ImageSet:
    """Return a set of files, after a check of their headers. EvaluationError names two files of different shapes."""
    if not files:
        raise EvaluationError("there are no images to evaluate")
    shapes: dict[tuple[int, int, int], Path] = {}
    for file in files:
        header = image_io.probe(file)
        shapes.setdefault((header.channels, header.height, header.width), file)
    if len(shapes) > 1:
        (one, first), (other, second) = list(shapes.items())[:2]
        raise EvaluationError(
            f"the images have different shapes: {first} is {describe_shape(one)}, {second} is {describe_shape(other)}. "
            f"Metrics need one size and one number of channels: resize or convert them first"
        )
    return ImageSet(tuple(files), next(iter(shapes)))


def check_same_shape(one: ImageSet, other: ImageSet, channels: bool = True) -> None:
    """EvaluationError if two sets have different image sizes or, with `channels`, different numbers of channels."""
    start = 0 if channels else 1
    if one.shape[start:] != other.shape[start:]:
        raise EvaluationError(
            f"the images in {one.files[0].parent} are {describe_shape(one.shape)}, those in {other.files[0].parent} "
            f"are {describe_shape(other.shape)}: resize or convert one of the sets first"
        )


def describe_shape(shape: tuple[int, int, int]) -> str:
    """Return a shape (C, H, W) as text: `64x48 RGB`."""
    channels, height, width = shape
    kinds = {1: "grey", 3: "RGB"}
    return f"{width}x{height} {kinds.get(channels, f'with {channels} channels')}"


def digest_of_pixels(files: Sequence[Path], distinct: bool = False) -> str:
    """Return the SHA-256 in hex of the shapes and 8-bit pixels of images of any size, in this order.

    With `distinct`, equal images count once.
    """
    with ThreadPoolExecutor(cores()) as pool:
        digests = list(pool.map(_digest, files))
    return hashlib.sha256("".join(dict.fromkeys(digests) if distinct else digests).encode()).hexdigest()


def _digest(file: Path) -> str:
    pixels = _in_8_bits(image_io.read(file))
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def _read(file: Path, shape: tuple[int, int, int]) -> Tensor:
    pixels = _in_8_bits(image_io.with_channels(image_io.read(file), shape[0], str(file)))
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _in_8_bits(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.uint8 else image_io.from_unit(image_io.to_unit(pixels), np.uint8)
