"""The description of a metric: its function, direction, unit, and the smallest images it needs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Metric:
    """A metric of translations.

    function: computes it from image pairs, confusion matrices or features, as its group in the table says.
    min_side: smallest height and width of images, in pixels.
    limits: smallest and largest possible value; intervals are clipped to them.
    per_attribute: also reported as `NAME ATTRIBUTE` for each attribute of a classifier.
    """

    name: str
    function: Callable[..., Any]
    better: Better
    about: str = ""
    unit: str = ""
    min_side: int = 1
    limits: tuple[float, float] = (-math.inf, math.inf)
    per_attribute: bool = False

    @property
    def arrow(self) -> str:
        """Return `↓` if lower is better, else `↑`."""
        return {"lower": "↓", "higher": "↑"}[self.better]

    def error(self, value: float) -> float:
        """Return the value with the sign for which lower is better."""
        return value if self.better == "lower" else -value

    def is_better(self, value: float, than: float) -> bool:
        return self.error(value) < self.error(than)


def mean_error(errors: Sequence[float]) -> float:
    return sum(errors) / len(errors)


# The metric by which the trainer selects checkpoints if no protocol runs during training.
HELD_OUT_ERROR = Metric(
    "error",
    mean_error,
    "lower",
    "mean of the preview's errors: L1 to the target image (range -1 to 1) by route, and `Method.validation_errors`",
    limits=(0, math.inf),
)
