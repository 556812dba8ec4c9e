"""From a decoded image to the crop that training uses: resize, random crop, flip, with a given random generator."""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from diptych.data.config import CropMode, DataConfig, Interpolation, Resampler, ResizeMode
from diptych.data.images import image_io
from diptych.data.images.augmentations import random_color_jitter, random_rotate90, random_size
from diptych.data.images.resample import resize
from diptych.errors import DataError

Array = np.ndarray
CROP_AREA, CROP_ASPECT = (0.8, 1.0), (0.9, 1.1)  # of the parts of `random_resized_crop`, relative to the image
CROP_ATTEMPTS = 10


@dataclass(frozen=True)
class Augment:
    """Resize to `load_size`, take a random crop of `crop_size` squared, flip half of the time (Isola et al. 2017, 6.2).

    With `crop_mode="random_resized"`, a random part of the image is resized to the crop size instead.
    Held-out images are always resized by Pillow, as in the public code of the papers.
    """

    load_size: int
    crop_size: int
    resize_mode: ResizeMode = "squash"
    flip: bool = True
    crop_mode: CropMode = "random"
    rotate90: bool = False
    color_jitter: float = 0.0
    random_scale: tuple[float, float] | None = None
    interpolation: Interpolation = "bicubic"
    resampler: Resampler = "torch"

    def __call__(self, array: Array, random: np.random.RandomState) -> Array:
        """(H, W, C) to (crop, crop, C) of the same dtype. Generators in equal states give equal crops."""
        crop, array = self.crop_size, self.prepare(array)
        down, across, mirror = random.random_sample(3)
        if self.crop_mode == "random_resized":
            array = self._resize(random_resized_crop(array, down, across, random), crop, crop)
        else:
            height, width = resized_size(array.shape[0], array.shape[1], self.load_size, crop, self.resize_mode)
            if self.random_scale:
                height, width = random_size(height, width, crop, self.random_scale, random)
            array = self._resize(array, height, width)
            top, left = int(down * (height - crop + 1)), int(across * (width - crop + 1))
            array = array[top : top + crop, left : left + crop]
        if self.flip and mirror < 0.5:
            array = array[:, ::-1]
        if self.rotate90:
            array = random_rotate90(array, random)
        return random_color_jitter(array, self.color_jitter, random) if self.color_jitter else array

    def prepare(self, array: Array) -> Array:
        """Return an image (H, W, C) after the part of a call that uses no randomness, mostly resized.

        It is worth keeping: a call on a prepared image gives the same result as on the image itself.
        """
        if self.resize_mode == "center_square":
            array = center_square(array)
        return self._resize(array, *self.prepared_size(array.shape[0], array.shape[1]))

    def prepared_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of a prepared image. It has its own size if it is resized at random, or not."""
        if self.resize_mode == "center_square":
            height = width = min(height, width)
        if self.crop_mode == "random_resized" or self.random_scale or self.resize_mode == "none":
            return height, width
        return resized_size(height, width, self.load_size, self.crop_size, self.resize_mode)

    def _resize(self, array: Array, height: int, width: int) -> Array:
        return resize(array, height, width, self.interpolation, self.resampler)

    @property
    def is_deterministic(self) -> bool:
        """Whether a call uses no randomness."""
        return (
            self.load_size == self.crop_size
            and self.resize_mode in ("squash", "center_square")
            and not self.flip
            and self.crop_mode == "random"
            and not (self.rotate90 or self.color_jitter or self.random_scale)
        )

    def without_randomness(self, array: Array) -> Array:
        """Resize to the crop size, and take the center crop (crop, crop, C): the transform of held-out images."""
        crop = self.crop_size
        if self.resize_mode == "center_square":
            array = center_square(array)
        height, width = resized_size(array.shape[0], array.shape[1], crop, crop, self.resize_mode)
        top, left = (height - crop) // 2, (width - crop) // 2
        resized = image_io.resize(array, height, width, self.interpolation)
        return resized[top : top + crop, left : left + crop]


def augment_of(config: DataConfig) -> Augment:
    """Return the built-in augmentation that the settings choose."""
    return Augment(
        config.effective_load_size,
        config.crop_size,
        config.resize_mode,
        config.flip,
        config.crop_mode,
        config.rotate90,
        config.color_jitter,
        config.random_scale,
        config.interpolation,
        config.resampler,
    )


@dataclass(frozen=True)
class CropToMultiple:
    """Crop both sides to a multiple of `size_multiple`: the remainder is cut off at the right and at the bottom."""

    size_multiple: int = 1

    def without_randomness(self, array: Array) -> Array:
        """(H, W, C) to (H', W', C). Raises DataError for an image smaller than one multiple."""
        height, width = (side // self.size_multiple * self.size_multiple for side in array.shape[:2])
        if not height or not width:
            raise DataError(
                f"an image of {array.shape[1]}x{array.shape[0]} pixels is smaller than {self.size_multiple}"
            )
        return array[:height, :width]


def center_square(array: Array) -> Array:
    """Return the largest square in the center of an image (H, W, C)."""
    height, width = array.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return array[top : top + side, left : left + side]


def random_resized_crop(array: Array, down: float, across: float, random: np.random.RandomState) -> Array:
    """Return the image itself half of the time, else a random part of it, as in the code of Choi et al. 2020.

    The part is that of torchvision's RandomResizedCrop, of 0.8 to 1 of the area and an aspect ratio of 0.9 to 1.1: a
    part larger than the image is drawn again. `down` and `across` (0 to 1) are its position.
    """
    use_part = random.random_sample()
    draws = random.random_sample((CROP_ATTEMPTS, 2))  # always all of them: see `augmentations`
    if use_part < 0.5:
        return array
    height, width = array.shape[:2]
    for area_draw, aspect_draw in draws:
        area = (CROP_AREA[0] + (CROP_AREA[1] - CROP_AREA[0]) * area_draw) * height * width
        aspect = CROP_ASPECT[0] * (CROP_ASPECT[1] / CROP_ASPECT[0]) ** aspect_draw
        part_height, part_width = round(sqrt(area / aspect)), round(sqrt(area * aspect))
        if 0 < part_height <= height and 0 < part_width <= width:
            break
    else:  # no part fits: the largest central one with an allowed aspect ratio
        aspect = min(max(width / height, CROP_ASPECT[0]), CROP_ASPECT[1])
        part_height, part_width = min(height, round(width / aspect)), min(width, round(height * aspect))
        down = across = 0.5
    top, left = int(down * (height - part_height + 1)), int(across * (width - part_width + 1))
    return array[top : top + part_height, left : left + part_width]


def resized_size(height: int, width: int, size: int, crop: int, mode: ResizeMode) -> tuple[int, int]:
    """Return the height and width to which an image of a height and width is resized, both at least `crop_size`.

    `squash` gives `size` x `size`, as in the papers; so does `center_square`, for an image that is square already.
    `short_side` resizes the shorter side to `size` and keeps the aspect ratio. `none` keeps the size; it raises
    DataError for an image smaller than the crop.
    """
    if mode in ("squash", "center_square"):
        return size, size
    if mode == "short_side":
        scale = size / min(height, width)
        return max(size, round(height * scale)), max(size, round(width * scale))
    if min(height, width) < crop:
        raise DataError(
            f"an image of {width}x{height} pixels is smaller than crop_size={crop}: use a smaller crop_size, or "
            f"resize_mode=short_side"
        )
    return height, width
