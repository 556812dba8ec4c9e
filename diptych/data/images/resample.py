"""A window of an image resized by Pillow's bicubic filter, bit for bit and faster: what a random crop needs.

Pillow weighs columns, then rows, by whole numbers in units of 1/2**22, and rounds after each. Sums of whole numbers do
not depend on their order, so any code that adds the same ones gives the same bytes. Here `embedding_bag` adds them: its
vector code takes half of Pillow's time, and pixels outside the window are not computed.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from diptych.data.images import image_io

_LEAST = 160  # pixels on a side: smaller windows are done sooner by Pillow, which has less to prepare
_MOST = 8  # shrunk further, a sum may have more bits than float32 holds


def resize_and_crop(array: np.ndarray, height: int, width: int, top: int, left: int, crop: int) -> np.ndarray:
    """`image.resize(array, height, width)[top : top + crop, left : left + crop]` of an image (H, W, C) of any kind."""
    if _is_sooner(array, height, width, crop):
        return resize_and_crop_exact(array, height, width, top, left, crop)
    return image_io.resize(array, height, width)[top : top + crop, left : left + crop]


def _is_sooner(array: np.ndarray, height: int, width: int, crop: int) -> bool:
    """Whether `resize_and_crop_exact` can make a window, and is faster."""
    most = max(array.shape[0] / height, array.shape[1] / width)
    square = array.shape[0] == array.shape[1] and height == width
    in_order = most <= 1 or square  # where it shrinks a side, Pillow may begin with the rows
    changes = array.shape[:2] != (height, width)
    fits = array.dtype == np.uint8 and array.shape[2] in (1, 3) and most <= _MOST
    return fits and in_order and changes and crop >= _LEAST


def resize_and_crop_exact(array: np.ndarray, height: int, width: int, top: int, left: int, crop: int) -> np.ndarray:
    """`resize_and_crop`, computed here, of uint8 (H, W, C). In memory, one channel follows the other."""
    rows, down = (part[top : top + crop] for part in _taps(array.shape[0], height))
    columns, across = (part[left : left + crop] for part in _taps(array.shape[1], width))
    first, last = int(rows.min()), int(rows.max()) + 1
    made = np.empty((array.shape[2], crop, crop), np.uint8)
    planes = torch.from_numpy(array[first:last]).permute(2, 1, 0).contiguous()
    for plane, target in zip(planes, made, strict=True):
        wide = _weighed(plane.float(), columns, across)
        target[:] = _weighed(wide.T.contiguous(), rows - first, down).numpy()
    return made.transpose(1, 2, 0)


def _weighed(table: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of the rows of `table`, rounded to 0..255, halves upwards; float32 holds each number exactly."""
    starts = torch.arange(0, places.numel(), places.shape[2])
    sums = torch.embedding_bag(table, places.flatten(), starts, mode=0, per_sample_weights=weights.flatten())[0]
    coarse, fine = sums.view(len(places), 2, -1).unbind(1)
    return coarse.add(fine.floor_(), alpha=2**-11).add_(0.5).floor_().clamp_(0, 255)


@lru_cache(maxsize=256)
def _taps(size: int, new: int) -> tuple[Tensor, Tensor]:
    """The places of the pixels that each of `new` is made of, and their weights: both (new, 2, taps).

    The weights are in two parts, since float32 holds 24 bits: the upper ones, and the lower 11 in units of 1/2**11.
    They are those of Pillow's `precompute_coeffs`, by its operations in their order.
    """
    scale = size / new
    stretch = max(scale, 1.0)
    centre = (np.arange(new)[:, None] + 0.5) * scale
    start = np.maximum(np.trunc(centre - 2 * stretch + 0.5), 0)
    stop = np.minimum(np.trunc(centre + 2 * stretch + 0.5), size)
    place = start + np.arange(math.ceil(4 * stretch))
    x = np.abs((place - centre + 0.5) * (1 / stretch))
    near, far = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
    weight = np.where(x < 1, near, np.where(x < 2, far, 0.0)) * (place < stop)
    weight /= np.cumsum(weight, axis=1)[:, -1:]  # added one after the other
    whole = np.trunc(weight * 2**22 + np.copysign(0.5, weight)).astype(np.int64)
    parts = np.stack([whole >> 11, whole & 2047], axis=1) / 2**11
    places = np.stack([np.minimum(place, stop - 1).astype(np.int64)] * 2, axis=1)
    return torch.from_numpy(places), torch.from_numpy(parts.astype(np.float32))
