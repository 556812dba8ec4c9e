"""edges: photographs from their edges. sketch: photographs from a pencil drawing of them."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from diptych.data.tasks.open_cv import open_cv
from diptych.data.tasks.task import Task, grey

TEXTURE = 3.0  # standard deviation of the paper's grain in a sketch, in pixels


class Edges(Task):
    """Photographs from edges, drawn black on white as in edges2shoes of Isola et al. (2017).

    `canny` are lines of one pixel: Canny's detector with hysteresis, then short lines are removed, as the paper removes
    them from the edges of HED. `soft` is the magnitude of the gradient, in grey.
    """

    name: ClassVar[str] = "edges"

    kind: Literal["canny", "soft"] = Field("canny", description="canny: thin lines; soft: magnitude of the gradient")
    sigma: float = Field(1.0, ge=0, le=20, description="standard deviation of the blur before, in pixels")
    thresholds: tuple[float, float] = Field(
        (50, 120), description="of Canny's hysteresis, for images of 0 to 255: lines begin at the higher one"
    )
    min_length: int = Field(10, ge=0, le=10_000, description="lines of fewer pixels are removed")

    @model_validator(mode="after")
    def _check_thresholds(self) -> "Edges":
        if not 0 < self.thresholds[0] <= self.thresholds[1]:
            raise ValueError(f"thresholds={list(self.thresholds)}: expected [LOW,HIGH] with 0 < LOW <= HIGH")
        return self

    def channels(self, image: int) -> tuple[int, int]:
        return 1, image

    def source(self, image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        cv2 = open_cv(self.name)
        smooth = grey(image)[..., 0]
        if self.sigma:
            smooth = cv2.GaussianBlur(smooth, (0, 0), self.sigma, borderType=cv2.BORDER_REFLECT_101)
        if self.kind == "soft":
            across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order, ksize=3, scale=0.25) for order in ((1, 0), (0, 1)))
            return (1 - np.hypot(across, down).clip(0, 1))[..., None]
        lines = cv2.Canny(np.rint(smooth * 255).astype(np.uint8), *self.thresholds, L2gradient=True)
        if self.min_length > 1:
            _, labels, statistics, _ = cv2.connectedComponentsWithStats(lines, connectivity=8)
            lines[(statistics[:, cv2.CC_STAT_AREA] < self.min_length)[labels]] = 0
        return (lines == 0).astype(np.float32)[..., None]


class Sketch(Task):
    """Photographs from a pencil drawing: luma divided by its blurred version, which leaves lines and dark parts."""

    name: ClassVar[str] = "sketch"

    sigma: float = Field(5.0, gt=0, le=50, description="standard deviation of the blur, in pixels: width of strokes")
    grain: float = Field(0.03, ge=0, le=0.5, description="standard deviation of the grain of the paper, of white = 1")

    def channels(self, image: int) -> tuple[int, int]:
        return 1, image

    def source(self, image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        cv2 = open_cv(self.name)
        luma = grey(image)[..., 0]
        drawing = luma / np.maximum(cv2.GaussianBlur(luma, (0, 0), self.sigma), 1 / 255)
        if self.grain:
            noise = cv2.GaussianBlur(random.standard_normal(luma.shape).astype(np.float32), (0, 0), TEXTURE)
            drawing -= np.float32(self.grain) * noise / max(float(noise.std()), 1e-6)
        return drawing.clip(0, 1).astype(np.float32)[..., None]
