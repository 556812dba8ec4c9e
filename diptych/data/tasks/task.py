"""The interface of a task: source and target of a photograph, and the finished image of an output.

A task works on the crop that training uses, after resizing and mirroring. So source and target are aligned to the
pixel, and noise or edges have the scale of the networks. `diptych translate` applies the same function to whole images.
"""

from abc import ABC, abstractmethod
from functools import lru_cache
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from diptych.data.images import image_io


class Task(BaseModel, ABC):
    """A task with its settings as fields. All images are (H, W, C) float32 in [0, 1], with 1 or 3 channels, or RGBA.

    Random parameters are drawn from the generator that is passed: equal generators give equal pairs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    finishes: ClassVar[bool] = False  # whether an output is not finished without its source
    needs_colors: ClassVar[bool] = False
    reads_alpha: ClassVar[bool] = False  # whether transparent pixels of an image to translate mean something

    def channels(self, image: int) -> tuple[int, int]:
        """Return the number of channels of source and target, for photographs with `image` channels (1 or 3)."""
        return image, image

    def prepare(self) -> None:
        """Read the files that the options name, so that errors come before the first image. DataError."""

    def file_options(self) -> dict[str, Any]:
        """Return options that identify these files: absolute paths and hashes, to be saved with a model. DataError."""
        return {}

    @abstractmethod
    def source(self, image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        """Return the source of a photograph."""

    def target(self, image: np.ndarray) -> np.ndarray:
        """Return the target of a photograph: by default the photograph."""
        return image

    def pair(self, image: np.ndarray, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """Return source and target of a photograph."""
        return self.source(image, random), self.target(image)

    def finish(self, output: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Return the finished image of a network's output and the source of the same size: by default the output."""
        return output

    def missing(self, source: np.ndarray) -> np.ndarray | None:
        """Return which pixels (H, W) a source lacks, as bool; None if the task has no missing pixels."""
        return None

    def finished_channels(self, target: int) -> int:
        """Return the number of channels of a finished image, for a target with `target` channels."""
        return target

    def shown_channels(self, channels: int) -> int:
        """Return how many of the first channels of a source are shown to people."""
        return channels


def unit(array: np.ndarray) -> np.ndarray:
    """Return an image of uint8, uint16 or float32 in [0, 1] as float32 in [0, 1]."""
    return (array / np.float32(image_io.white_of(array.dtype))).astype(np.float32, copy=False)


def grey(image: np.ndarray) -> np.ndarray:
    """Return the luma (H, W, 1) of an image with 1 or 3 channels."""
    return image_io.with_channels(image, 1, "image")


def uniform(limits: tuple[float, float], random: np.random.RandomState) -> float:
    """Return a number between two limits."""
    return float(limits[0] + (limits[1] - limits[0]) * random.random_sample())


def normal(shape: tuple[int, ...], random: np.random.RandomState) -> np.ndarray:
    """Return standard normal numbers of a shape (H, W, C), float32, of 2**16 quantiles, so at most 4.3.

    That takes a fifth of the time of NumPy's. They are stored channel by channel, as resized photographs are.
    """
    height, width, channels = shape
    return _quantiles()[random.randint(0, 2**16, (channels, height, width), np.uint16)].transpose(1, 2, 0)


@lru_cache(maxsize=1)
def _quantiles() -> np.ndarray:
    """Return the normal numbers below which (k + 0.5) / 2**16 of all are, float32."""
    return np.array([NormalDist().inv_cdf((k + 0.5) / 2**16) for k in range(2**16)], np.float32)


def finished(task: Task, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the finished image (C, H, W) of a network's output and its input, all in [-1, 1]."""
    output, source = ((each.transpose(1, 2, 0) + np.float32(1)) / 2 for each in (y, x))
    return np.ascontiguousarray(image_io.to_unit(task.finish(output, source)).transpose(2, 0, 1))
