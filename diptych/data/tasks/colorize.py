"""colorize: colours of a grey photograph, as a and b of CIE Lab beside the given L, or as RGB."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from diptych.data.images import image_io
from diptych.data.images.lab import lab_of, rgb_of
from diptych.data.tasks.task import Task, grey

MAX_AB = 110.0  # a and b that become 1; as in the public code of pix2pix, with L / 50 - 1 for the source


class Colorize(Task):
    """Colours of a grey photograph. In Lab, the finished image has the L of the photograph at its full resolution."""

    name: ClassVar[str] = "colorize"
    finishes: ClassVar[bool] = True
    needs_colors: ClassVar[bool] = True

    colors: Literal["lab", "rgb"] = Field(
        "lab", description="lab: L is the source, a and b are the target (paper); rgb: from grey to RGB"
    )

    def channels(self, image: int) -> tuple[int, int]:
        return 1, 2 if self.colors == "lab" else 3

    def finished_channels(self, target: int) -> int:
        return 3

    def source(self, image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        return grey(image) if self.colors == "rgb" else _lightness(lab_of(_rgb(image)))

    def target(self, image: np.ndarray) -> np.ndarray:
        return _rgb(image) if self.colors == "rgb" else _ab(lab_of(_rgb(image)))

    def pair(self, image: np.ndarray, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        if self.colors == "rgb":
            return super().pair(image, random)
        lab = lab_of(_rgb(image))  # once for both
        return _lightness(lab), _ab(lab)

    def finish(self, output: np.ndarray, source: np.ndarray) -> np.ndarray:
        if self.colors == "rgb":
            return output
        return rgb_of(np.concatenate([source * 100, (output - 0.5) * (2 * MAX_AB)], -1))


def _lightness(lab: np.ndarray) -> np.ndarray:
    return (lab[..., :1] / 100).clip(0, 1)


def _ab(lab: np.ndarray) -> np.ndarray:
    return (lab[..., 1:] / (2 * MAX_AB) + 0.5).clip(0, 1)


def _rgb(image: np.ndarray) -> np.ndarray:
    return image_io.with_channels(image, 3, "image")
