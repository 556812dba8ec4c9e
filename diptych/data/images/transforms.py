"""From a decoded image to the crop that training sees: resize, random crop, flip; all drawn from a given generator."""

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np

from diptych.data.images.augmentations import random_color_jitter, random_rotate90, random_size
from diptych.data.images.resample import resize_and_crop
from diptych.errors import DataError

ResizeMode = Literal["squash", "short_side", "center_square", "none"]
CropMode = Literal["random", "random_resized"]
Array = np.ndarray


@dataclass(frozen=True)
class Augment:
    """Resize to `load_size`, cut a random `crop_size` x `crop_size` square, mirror half of the time (Isola et al. 2017, 6.2)."""

    load_size: int
    crop_size: int
    resize_mode: ResizeMode = "squash"
    flip: bool = True
    crop_mode: CropMode = "random"
    rotate90: bool = False
    color_jitter: float = 0.0
    random_scale: tuple[float, float] | None = None

    def __call__(self, array: Array, random: np.random.RandomState) -> Array:
        """(H, W, C) to (crop, crop, C) of the same dtype. Two calls with equal generators cut equally."""
        if self.resize_mode == "center_square":
            array = center_square(array)
        down, across, mirror = random.random_sample(3)
        if self.crop_mode == "random_resized":
            array = resize_and_crop(
                random_resized_crop(array, down, across, random), self.crop_size, self.crop_size, 0, 0, self.crop_size
            )
        else:
            height, width = resized_size(array, self.load_size, self.crop_size, self.resize_mode)
            if self.random_scale:
                height, width = random_size(height, width, self.crop_size, self.random_scale, random)
            top, left = (int(share * (size - self.crop_size + 1)) for share, size in ((down, height), (across, width)))
            array = resize_and_crop(array, height, width, top, left, self.crop_size)
        if self.flip and mirror < 0.5:
            array = array[:, ::-1]
        if self.rotate90:
            array = random_rotate90(array, random)
        return random_color_jitter(array, self.color_jitter, random) if self.color_jitter else array

    @property
    def is_deterministic(self) -> bool:
        """Whether nothing is left to chance, so that each call is as `without_randomness`."""
        return (
            self.load_size == self.crop_size
            and self.resize_mode in ("squash", "center_square")
            and not self.flip
            and self.crop_mode == "random"
            and not (self.rotate90 or self.color_jitter or self.random_scale)
        )

    def without_randomness(self, array: Array) -> Array:
        """The same picture each time, (crop, crop, C): what held-out images go through."""
        if self.resize_mode == "center_square":
            array = center_square(array)
        height, width = resized_size(array, self.crop_size, self.crop_size, self.resize_mode)
        return resize_and_crop(
            array, height, width, (height - self.crop_size) // 2, (width - self.crop_size) // 2, self.crop_size
        )


@dataclass(frozen=True)
class CropToMultiple:
    """All of a picture, but for what is left of its sides by a multiple: as much as that, on the right and below."""

    size_multiple: int = 1

    def without_randomness(self, array: Array) -> Array:
        """(H, W, C) to (H', W', C). DataError if that leaves nothing."""
        height, width = (side // self.size_multiple * self.size_multiple for side in array.shape[:2])
        if not height or not width:
            raise DataError(
                f"an image of {array.shape[1]}x{array.shape[0]} pixels is smaller than {self.size_multiple}"
            )
        return array[:height, :width]


def center_square(array: Array) -> Array:
    """The largest square in the middle."""
    height, width = array.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return array[top : top + side, left : left + side]


def random_resized_crop(array: Array, down: float, across: float, random: np.random.RandomState) -> Array:
    """Half of the time all of it, else 0.8 to 1 of its area at a ratio of 0.9 to 1.1 (the code of Choi et al. 2020)."""
    zoom, area, ratio = random.random_sample(3)
    if zoom < 0.5:
        return array
    height, width = array.shape[:2]
    size, shape = 0.8 + 0.2 * area, 0.9 * (1.1 / 0.9) ** ratio
    high = min(height, round(sqrt(size * height * width / shape)))
    wide = min(width, round(sqrt(size * height * width * shape)))
    top, left = int(down * (height - high + 1)), int(across * (width - wide + 1))
    return array[top : top + high, left : left + wide]


def resized_size(array: Array, size: int, crop: int, fit: ResizeMode) -> tuple[int, int]:
    """The height and width to which an image (H, W, C) is resized, both at least `crop_size`.

    `squash` makes it `size` x `size` as the papers do, and so does `center_square`, of a square; `short` makes the shorter
    side `size` and keeps the shape; `none` leaves it as it is. DataError if what is left is smaller than the crop.
    """
    height, width = array.shape[:2]
    if fit in ("squash", "center_square"):
        return size, size
    if fit == "short_side":
        scale = size / min(height, width)
        return max(size, round(height * scale)), max(size, round(width * scale))
    if min(height, width) < crop:
        raise DataError(
            f"an image of {width}x{height} pixels is smaller than crop_size={crop}: use a smaller crop, or resize_mode=short_side"
        )
    return height, width
