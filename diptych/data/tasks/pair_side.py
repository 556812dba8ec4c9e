"""One side of the pairs of a task, as a column of a data set has it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from diptych.data.tasks.task import Task, unit
from diptych.seeds import random_state


@dataclass(frozen=True)
class PairSide:
    """Source or target of the pairs of a task: what a column of photographs becomes after resizing and cropping."""

    task: Task
    side: Literal["source", "target"]

    def pair(self, image: np.ndarray, random: np.random.RandomState) -> dict[str, np.ndarray]:
        """Return both sides of a crop, by name, as `of` does."""
        return dict(zip(("source", "target"), self.task.pair(unit(image), random), strict=True))

    def of(self, image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        """Return this side of a crop (H, W, C) of uint8, uint16 or float32 in [0, 1], as float32 (H, W, C')."""
        image = unit(image)
        return self.task.source(image, random) if self.side == "source" else self.task.target(image)

    def channels(self, image: int) -> int:
        """Return the number of channels, for photographs with `image` channels."""
        return self.task.channels(image)[self.side == "target"]


def held_out_state(name: str) -> np.random.RandomState:
    """Return the generator of an image that is not trained on, by the last part of its path: always the same pair."""
    return random_state("task", name.replace("\\", "/").rpartition("/")[2])
