"""What a metric is: the function that computes it, which direction is better, its unit, and the images it needs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Metric:
    """A number that says how good translations are.

    `function` computes it from what its family of metrics gives: a pair of image batches, confusion matrices, the
    features of two sets. Images of fewer than `min_side` pixels on their shorter side do not have it.
    """

    name: str
    function: Callable[..., Any]
    better: Better
    about: str = ""
    unit: str = ""
    min_side: int = 1  # pixels
    limits: tuple[float, float] = (-math.inf, math.inf)  # an interval ends there
    per_attribute: bool = False  # also given as `NAME ATTRIBUTE`, for each attribute of a classifier

    @property
    def arrow(self) -> str:
        """`↓` or `↑`."""
        return {"lower": "↓", "higher": "↑"}[self.better]

    def error(self, value: float) -> float:
        """Return the value as a number of which lower is better."""
        return value if self.better == "lower" else -value

    def is_better(self, value: float, than: float) -> bool:
        return self.error(value) < self.error(than)


def mean_error(errors: Sequence[float]) -> float:
    return sum(errors) / len(errors)


# What the trainer measures by itself, and what it compares checkpoints by.
HELD_OUT_ERROR = Metric(
    "error",
    mean_error,
    "lower",
    "mean of the errors of a preview: L1 to the target (range -1 to 1) by route, and what `Method.validation_errors` returns",
    limits=(0, math.inf),
)
