"""Augmentations beside crop and flip: random scale, rotation by 90 degrees and colour jitter.

Each function takes the random generator of the sample, and draws equally often from it whatever the image. So the
images of a pair are transformed alike.
"""

import numpy as np

from diptych.data.images.class_maps import IDS
from diptych.data.images.image_io import white_of

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601-2


def random_size(
    height: int, width: int, crop_size: int, scale: tuple[float, float], random: np.random.RandomState
) -> tuple[int, int]:
    """Return a size multiplied by a factor drawn uniformly from `scale`; no side becomes smaller than `crop_size`."""
    low, high = scale
    factor = max(low + (high - low) * random.random_sample(), crop_size / min(height, width))
    return max(crop_size, round(height * factor)), max(crop_size, round(width * factor))


def random_rotate90(array: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Return an image (H, W, C) rotated by 0, 90, 180 or 270 degrees."""
    return np.rot90(array, random.randint(4))


def random_color_jitter(array: np.ndarray, strength: float, random: np.random.RandomState) -> np.ndarray:
    """Return an image (H, W, C) with brightness, contrast and saturation multiplied, in this order.

    Each factor is uniform in [1 - strength, 1 + strength]. Maps of class ids (int32) are returned as they are;
    saturation applies to images with 3 channels or, with alpha as the last one, 4.
    """
    brightness, contrast, saturation = 1 + strength * (2 * random.random_sample(3) - 1)
    if array.dtype == IDS:
        return array
    channels = array.shape[2]
    colours = array[..., :3] if channels == 4 else array  # alpha stays
    white = white_of(array.dtype)
    jittered = np.clip(colours.astype(np.float32) * np.float32(brightness / white), 0, 1)
    jittered = np.clip(_blend(jittered, np.float32(_grey(jittered).mean()), contrast), 0, 1)
    if jittered.shape[2] == 3:
        jittered = np.clip(_blend(jittered, _grey(jittered), saturation), 0, 1)
    if array.dtype.kind != "f":
        jittered = np.rint(jittered * white)
    return np.concatenate([jittered.astype(array.dtype), array[..., jittered.shape[2] :]], axis=2)


def _grey(unit: np.ndarray) -> np.ndarray:
    """Return the luminance (H, W, 1) of colours; other images as they are."""
    return (unit @ LUMINANCE)[..., None] if unit.shape[2] == 3 else unit


def _blend(unit: np.ndarray, other: np.ndarray | np.float32, factor: float) -> np.ndarray:
    return np.float32(factor) * unit + np.float32(1 - factor) * other
