"""edges: photographs from their edges. sketch: photographs from a pencil drawing of them."""

from types import MappingProxyType, ModuleType
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from diptych.data.tasks.edge_lines import linked, ridges, thinned, without_short
from diptych.data.tasks.hed_detector import digest_of, edge_probabilities, find_weights, load_hed
from diptych.data.tasks.open_cv import open_cv
from diptych.data.tasks.task import Task, grey, normal

TEXTURE = 3.0  # standard deviation of the paper's grain in a sketch, in pixels
OF_HED = MappingProxyType({"sigma": 0.0, "thresholds": (25, 25), "min_length": 5})  # defaults; pix2pix's public code


class Edges(Task):
    """Photographs from edges, drawn black on white as in edges2shoes of Isola et al. (2017).

    `canny` are lines of one pixel: Canny's detector with hysteresis, then short lines are removed. `hed` are those of
    the paper: HED, then ridges, a threshold, thinning, and short lines are removed. `soft` is the magnitude of the
    gradient, in grey.
    """

    name: ClassVar[str] = "edges"

    kind: Literal["canny", "soft", "hed"] = Field(
        "canny", description="canny: thin lines; soft: magnitude of the gradient; hed: thin lines by HED (paper)"
    )
    sigma: float = Field(
        1.0, ge=0, le=20, description="standard deviation of the blur before, in pixels; hed: 0 by default"
    )
    thresholds: tuple[float, float] = Field(
        (50, 120),
        description="of the hysteresis, of 255: lines begin at the higher one; hed: [25, 25] by default",
    )
    min_length: int = Field(10, ge=0, le=10_000, description="lines of fewer pixels are removed; hed: 5 by default")
    weights: str | None = Field(
        None, min_length=1, max_length=4096, description="hed: safetensors file of the weights of HED"
    )
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="hed: SHA-256 of that file, which a training adds"
    )
    border: int = Field(
        32, ge=0, le=512, description="hed: pixels by which the photograph is continued at each side; paper: 128"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_kind(cls, values: Any) -> Any:
        is_hed = isinstance(values, dict) and values.get("kind") == "hed"
        return {**OF_HED, **values} if is_hed else values

    @model_validator(mode="after")
    def _check_options(self) -> "Edges":
        if not 0 < self.thresholds[0] <= self.thresholds[1]:
            raise ValueError(f"thresholds={list(self.thresholds)}: expected [LOW,HIGH] with 0 < LOW <= HIGH")
        if self.kind == "hed" and self.weights is None:
            raise ValueError("kind=hed needs weights=FILE, the weights of HED as a safetensors file: see docs/tasks.md")
        for name in ("weights", "sha256", "border") if self.kind != "hed" else ():
            if name in self.model_fields_set:
                raise ValueError(f"{name} has no effect without kind=hed: leave it out")
        return self

    def channels(self, image: int) -> tuple[int, int]:
        return 1, image

    def prepare(self) -> None:
        if self.weights:
            load_hed(self.weights, self.sha256)

    def file_options(self) -> dict[str, Any]:
        if not self.weights or self.sha256:
            return {}
        return {"weights": str(find_weights(self.weights).absolute()), "sha256": digest_of(self.weights)}

    def source(self, image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        cv2 = open_cv(self.name)
        if self.kind == "hed":
            return _drawn(self._lines_by_hed(cv2, image))
        smooth = self._blurred(cv2, grey(image)[..., 0])
        if self.kind == "soft":
            across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order, ksize=3, scale=0.25) for order in ((1, 0), (0, 1)))
            return (1 - np.hypot(across, down).clip(0, 1))[..., None]
        lines = cv2.Canny(np.rint(smooth * 255).astype(np.uint8), *self.thresholds, L2gradient=True)
        return _drawn(without_short(cv2, lines, self.min_length))

    def _lines_by_hed(self, cv2: ModuleType, image: np.ndarray) -> np.ndarray:
        network = load_hed(str(self.weights), self.sha256)
        edges = ridges(cv2, edge_probabilities(self._blurred(cv2, image), network, self.border))
        low, high = (threshold / 255 for threshold in self.thresholds)
        return without_short(cv2, thinned(cv2, linked(cv2, edges, low, high)), self.min_length)

    def _blurred(self, cv2: ModuleType, image: np.ndarray) -> np.ndarray:
        if not self.sigma:
            return image
        blurred = cv2.GaussianBlur(image, (0, 0), self.sigma, borderType=cv2.BORDER_REFLECT_101)
        return np.asarray(blurred.reshape(image.shape))  # OpenCV drops a single channel


def _drawn(lines: np.ndarray) -> np.ndarray:
    """Return lines (H, W) as an image (H, W, 1), black on white."""
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
            noise = cv2.GaussianBlur(normal((*luma.shape, 1), random)[..., 0], (0, 0), TEXTURE)
            drawing -= np.float32(self.grain) * noise / max(float(noise.std()), 1e-6)
        return drawing.clip(0, 1).astype(np.float32)[..., None]
