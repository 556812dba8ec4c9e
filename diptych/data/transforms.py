"""From a decoded image to the crop that training sees: resize, random crop, flip; all drawn from a given generator."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from diptych.data.resample import window
from diptych.errors import DataError

Fit = Literal["squash", "short", "none"]
Array = np.ndarray


@dataclass(frozen=True)
class Augment:
    """Resize to `load`, cut a random `crop` x `crop` square, mirror half of the time (Isola et al. 2017, 6.2)."""

    load: int
    crop: int
    fit: Fit = "squash"
    flip: bool = True

    def __call__(self, array: Array, random: np.random.RandomState) -> Array:
        """(H, W, C) to (crop, crop, C) of the same dtype. Two calls with equal generators cut equally."""
        down, across, mirror = random.random_sample(3)
        height, width = fitted(array, self.load, self.crop, self.fit)
        top, left = (int(share * (size - self.crop + 1)) for share, size in ((down, height), (across, width)))
        array = window(array, height, width, top, left, self.crop)
        return array[:, ::-1] if self.flip and mirror < 0.5 else array

    def still(self, array: Array) -> Array:
        """The same picture each time, (crop, crop, C): what held-out images go through."""
        height, width = fitted(array, self.crop, self.crop, self.fit)
        return window(array, height, width, (height - self.crop) // 2, (width - self.crop) // 2, self.crop)


def fitted(array: Array, size: int, crop: int, fit: Fit) -> tuple[int, int]:
    """The height and width to which an image (H, W, C) is resized, both at least `crop`.

    `squash` makes it `size` x `size` as the papers do; `short` makes the shorter side `size` and keeps the shape;
    `none` leaves it as it is. Raises DataError if what is left is smaller than the crop.
    """
    height, width = array.shape[:2]
    if fit == "squash":
        return size, size
    if fit == "short":
        scale = size / min(height, width)
        return max(size, round(height * scale)), max(size, round(width * scale))
    if min(height, width) < crop:
        raise DataError(
            f"an image of {width}x{height} pixels is smaller than crop={crop}: use a smaller crop, or fit=short"
        )
    return height, width
