"""Resize and crop in one step, bit for bit equal to Pillow's bicubic filter and faster.

Pillow computes weighted sums over columns, then over rows, with integer weights in units of 1/2**22, and rounds after
each pass. Integer sums do not depend on the order of their terms, so any code that adds the same terms gives the same
bytes. Here `embedding_bag` adds them: its vectorised code takes half of Pillow's time, and pixels outside the crop are
not computed.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from diptych.data.config import Interpolation
from diptych.data.images import image_io

_MIN_CROP = 160  # pixels on a side; for smaller crops Pillow is faster, as it has less to prepare
_MAX_REDUCTION = 8  # for stronger reductions a sum may need more bits than float32 has


def resize_and_crop(
    array: np.ndarray,
    height: int,
    width: int,
    top: int,
    left: int,
    crop: int,
    interpolation: Interpolation = "bicubic",
) -> np.ndarray:
    """Return `image_io.resize(array, height, width)[top : top + crop, left : left + crop]` of an image (H, W, C)."""
    if interpolation == "bicubic" and _is_faster(array, height, width, crop):
        return resize_and_crop_exact(array, height, width, top, left, crop)
    return image_io.resize(array, height, width, interpolation)[top : top + crop, left : left + crop]


def _is_faster(array: np.ndarray, height: int, width: int, crop: int) -> bool:
    """Return whether `resize_and_crop_exact` supports the image and is faster than Pillow."""
    reduction = max(array.shape[0] / height, array.shape[1] / width)
    is_square = array.shape[0] == array.shape[1] and height == width
    columns_first = reduction <= 1 or is_square  # if a side shrinks, Pillow may filter the rows first
    is_resized = array.shape[:2] != (height, width)
    is_supported = array.dtype == np.uint8 and array.shape[2] in (1, 3) and reduction <= _MAX_REDUCTION
    return is_supported and columns_first and is_resized and crop >= _MIN_CROP


def resize_and_crop_exact(array: np.ndarray, height: int, width: int, top: int, left: int, crop: int) -> np.ndarray:
    """Return `resize_and_crop` of uint8 (H, W, C), computed here. The result is stored channel by channel."""
    rows, row_weights = (taps[top : top + crop] for taps in _filter_taps(array.shape[0], height))
    columns, column_weights = (taps[left : left + crop] for taps in _filter_taps(array.shape[1], width))
    first, last = int(rows.min()), int(rows.max()) + 1
    result = np.empty((array.shape[2], crop, crop), np.uint8)
    planes = torch.from_numpy(array[first:last]).permute(2, 1, 0).contiguous()
    for plane, target in zip(planes, result, strict=True):
        filtered = _weighted_sums(plane.float(), columns, column_weights)
        target[:] = _weighted_sums(filtered.T.contiguous(), rows - first, row_weights).numpy()
    return result.transpose(1, 2, 0)


def _weighted_sums(table: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Return weighted sums of rows of `table`, rounded half up to 0..255. All terms are exact in float32."""
    starts = torch.arange(0, indices.numel(), indices.shape[2])
    sums = torch.embedding_bag(table, indices.flatten(), starts, mode=0, per_sample_weights=weights.flatten())[0]
    coarse, fine = sums.view(len(indices), 2, -1).unbind(1)
    return coarse.add(fine.floor_(), alpha=2**-11).add_(0.5).floor_().clamp_(0, 255)


@lru_cache(maxsize=256)
def _filter_taps(size: int, new_size: int) -> tuple[Tensor, Tensor]:
    """Return the indices of the pixels that contribute to each new pixel, and their weights: both (new_size, 2, taps).

    Each weight is split in two, since float32 has 24 bits: the upper bits, and the lower 11 in units of 1/2**11.
    The weights are those of Pillow's `precompute_coeffs`, computed by the same operations in the same order.
    """
    scale = size / new_size
    stretch = max(scale, 1.0)
    centers = (np.arange(new_size)[:, None] + 0.5) * scale
    start = np.maximum(np.trunc(centers - 2 * stretch + 0.5), 0)
    stop = np.minimum(np.trunc(centers + 2 * stretch + 0.5), size)
    index = start + np.arange(math.ceil(4 * stretch))
    x = np.abs((index - centers + 0.5) * (1 / stretch))
    near, far = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
    weight = np.where(x < 1, near, np.where(x < 2, far, 0.0)) * (index < stop)
    weight /= np.cumsum(weight, axis=1)[:, -1:]  # summed sequentially, as Pillow does
    fixed_point = np.trunc(weight * 2**22 + np.copysign(0.5, weight)).astype(np.int64)
    weights = np.stack([fixed_point >> 11, fixed_point & 2047], axis=1) / 2**11
    indices = np.stack([np.minimum(index, stop - 1).astype(np.int64)] * 2, axis=1)
    return torch.from_numpy(indices), torch.from_numpy(weights.astype(np.float32))
