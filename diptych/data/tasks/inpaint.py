"""inpaint: photographs with missing pixels, of which only those are replaced."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from diptych.data.images import image_io
from diptych.data.tasks import masks
from diptych.data.tasks.task import Task

HOLE = np.float32(0.5)  # value of missing pixels: 0 for the networks; our choice


class Inpaint(Task):
    """Missing pixels. In images to translate, pixels that are more than half transparent are the missing ones.

    Images without transparency are translated with a mask as in training.
    """

    name: ClassVar[str] = "inpaint"
    finishes: ClassVar[bool] = True
    reads_alpha: ClassVar[bool] = True

    mask: Literal["center", "blocks", "freeform", "outpaint"] = Field(
        "center", description="missing pixels: center block (paper), random blocks, random strokes, all but the center"
    )
    fraction: float = Field(0.5, gt=0, lt=1, description="height and width of the center block, of those of the image")
    count: tuple[int, int] = Field((1, 4), description="lowest and highest number of blocks or strokes")
    brush: tuple[float, float] = Field((0.04, 0.1), description="width of strokes, of the shorter side of the image")
    mask_channel: bool = Field(
        False,
        description="further channel of the source: 1 where pixels are known, else 0",
    )

    @model_validator(mode="after")
    def _check_ranges(self) -> "Inpaint":
        if not 1 <= self.count[0] <= self.count[1] <= 100:
            raise ValueError(f"count={list(self.count)}: expected [LOW,HIGH] with 1 <= LOW <= HIGH <= 100")
        if not 0 < self.brush[0] <= self.brush[1] <= 1:
            raise ValueError(f"brush={list(self.brush)}: expected [LOW,HIGH] with 0 < LOW <= HIGH <= 1")
        return self

    def channels(self, image: int) -> tuple[int, int]:
        return image + self.mask_channel, image

    def source(self, image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        missing = self._draw(image, random)[..., None]
        source = np.where(missing, HOLE, _colours(image))
        return np.concatenate([source, 1 - missing.astype(np.float32)], -1) if self.mask_channel else source

    def finish(self, output: np.ndarray, source: np.ndarray) -> np.ndarray:
        known = image_io.with_channels(source[..., : self.shown_channels(source.shape[2])], output.shape[2], "image")
        return np.where(self.missing(source)[..., None], output, known)

    def missing(self, source: np.ndarray) -> np.ndarray:
        if self.mask_channel:
            return source[..., -1] < 0.5
        return (source == HOLE).all(-1)  # which no pixel of 8 or 16 bits is

    def shown_channels(self, channels: int) -> int:
        return channels - self.mask_channel

    def _draw(self, image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        """Return which pixels of a photograph are made missing: the transparent ones, or as the settings say."""
        if image.shape[2] == 4 and (transparent := image[..., 3] < 0.5).any():
            return transparent
        height, width = image.shape[:2]
        if self.mask == "blocks":
            return masks.blocks(height, width, self.count, random)
        if self.mask == "freeform":
            return masks.freeform(height, width, self.count, self.brush, random)
        return (masks.center if self.mask == "center" else masks.outpaint)(height, width, self.fraction)


def _colours(image: np.ndarray) -> np.ndarray:
    return image[..., :3] if image.shape[2] == 4 else image
