"""Masks of pixels without data, resized and cropped as the images of a batch."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.data.dataset import Split
from diptych.data.image_columns import ImageFiles
from diptych.data.images.transforms import Augment

MASK_TOLERANCE = 1e-3  # of 0.5, the value of valid pixels while they are resized


def stack_valid(column: Any, indices: Sequence[int], augment: Augment, images: Tensor) -> Tensor:
    """Return the masks (N, 1, H, W) of held-out images (N, C, H, W) of a column, as `valid_tensor`."""
    crop = augment.without_randomness
    return torch.stack([valid_tensor(column, i, crop, image) for i, image in zip(indices, images, strict=True)])


def has_nodata(split: Split) -> bool:
    """Return whether a split has pairs of image files of which some have pixels without data."""
    images = [column for column in split.columns.values() if isinstance(column, ImageFiles)]
    return split.aligned and len(images) == 2 and any(column.has_nodata for column in images)


def valid_tensor(column: Any, index: int, transform: Callable[[np.ndarray], np.ndarray], image: Tensor) -> Tensor:
    """Return a mask (1, H, W) of an image (C, H, W) of a column: 1 where no pixel without data has an effect, else 0.

    `transform` resizes and crops it as the image.
    """
    mask = column.valid(index) if isinstance(column, ImageFiles) else None
    if mask is None:
        return torch.ones_like(image[:1])
    # 0.5 where valid: a filter that has read valid pixels alone gives 0.5, and any other more or less.
    resized = transform(np.where(mask, np.float32(0.5), np.float32(0))[..., None])
    is_valid = np.abs(resized - 0.5) < MASK_TOLERANCE
    return torch.from_numpy(np.ascontiguousarray(is_valid.transpose(2, 0, 1), np.float32))
