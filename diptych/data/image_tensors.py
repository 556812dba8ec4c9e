"""Images of a column as tensors: of one sample, transformed, and of held-out images without randomness."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.contract import VALID, Batch
from diptych.data.dataset import Split
from diptych.data.images import image_io
from diptych.data.images.transforms import Augment
from diptych.data.nodata_masks import has_nodata, stack_valid
from diptych.data.tasks.pair_side import PairSide, held_out_state
from diptych.errors import DataError

Transform = Callable[[np.ndarray], np.ndarray]


def held_out_batch(
    split: Split, channels: dict[str, int], augment: Augment, count: int, classes: Sequence[str] = ()
) -> Batch:
    """Return `count` samples as one batch, resized and cropped without randomness. Aligned only if the split is.

    Without labels, they are the first samples. With labels, which are in order, they are spread over all of them, and
    groups that are sampled independently use different samples.
    If every scene is known in each of the `classes`, the batch also has `IMAGE of CLASS` for each class.
    """
    count = min(count, *(len(column) for column in split.columns.values()))
    labelled = any(name not in channels for name in split.columns)
    indices, batch = np.arange(count), {}
    for group_number, names in enumerate(split.sample_groups if labelled else [tuple(split.columns)]):
        if labelled:
            indices = np.linspace(0, len(split.columns[names[0]]) - 1, count).round().astype(int)
        for name in names:
            column, shifted = split.columns[name], np.roll(indices, group_number * (count // 2)).tolist()
            if name in channels:
                batch[name] = _stack(column, shifted, augment, channels[name])
            else:
                batch[name] = torch.as_tensor(np.asarray(column)[shifted])
    if has_nodata(split):
        masks = [stack_valid(split.columns[name], indices.tolist(), augment, batch[name]) for name in channels]
        batch[VALID] = torch.stack(masks).prod(0)
    image = next(iter(channels))
    for number, name in enumerate(classes if split.scene_ids else ()):
        partners = [split.scene_index.get((split.scene_ids[index], number)) for index in indices.tolist()]
        known = [index for index in partners if index is not None]
        if len(known) == count:
            batch[f"{image} of {name}"] = _stack(split.columns[image], known, augment, channels[image])
    return batch


def _stack(column: Any, indices: Sequence[int], augment: Augment, channels: int) -> Tensor:
    return torch.stack([held_out_tensor(column, i, augment.without_randomness, channels) for i in indices])


def held_out_tensor(column: Any, index: int, transform: Transform, channels: int) -> Tensor:
    """Return an image of a column after a transform without randomness: (channels, H, W) float32 in [-1, 1]."""
    name = image_name(column, index)
    if side := side_of(column):
        image = applied(column[index], transform, name)
        return to_tensor(side.of(image, held_out_state(name)), unchanged, channels, name)
    return to_tensor(column[index], transform, channels, name)


def side_of(column: object) -> PairSide | None:
    """Return the side of the pairs of a task that a column has, if any."""
    return getattr(column, "side", None)


def applied(array: np.ndarray, transform: Transform, path: str) -> np.ndarray:
    """Return a transformed image. Errors name it by `path`."""
    try:
        return transform(array)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def unchanged(array: np.ndarray) -> np.ndarray:
    return array


def to_tensor(array: np.ndarray, transform: Transform, channels: int, path: str) -> Tensor:
    """Return a transformed image (H, W, C) as (channels, crop, crop) float32 in [-1, 1]. Errors name it by `path`."""
    array = applied(array, transform, path)
    planes = np.ascontiguousarray(image_io.with_channels(array, channels, path).transpose(2, 0, 1))
    return torch.from_numpy(image_io.to_unit(planes))


def image_name(column: object, index: int) -> str:
    """Return the name of an image in error messages: its path, or its index."""
    name = getattr(column, "name", None)
    return name(index) if callable(name) else f"image {index}"
