"""Batches: `batch(step)` is a pure function of (seed, stage, step), loaded ahead of the step by worker processes."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from diptych.contract import VALID
from diptych.data.config import MAX_BAD_SHARE, OnBadImage
from diptych.data.dataset import Split, files_of
from diptych.data.image_cache import CachedImages, Key, cache_images
from diptych.data.image_tensors import Transform, applied, image_name, side_of, to_tensor, unchanged
from diptych.data.images.transforms import Augment
from diptych.data.nodata_masks import has_nodata, valid_tensor
from diptych.data.sample_transform import SampleTransform
from diptych.data.workers import load_ahead
from diptych.errors import ConfigError, DataError
from diptych.seeds import random_state, reused_state


@dataclass(frozen=True)
class Batches(Dataset[dict[str, Tensor]]):
    """Batch number `step` of a stage: images (N, C, crop, crop) float32 in [-1, 1], labels (N,) int64.

    Aligned images of which some have pixels without data come with VALID, (N, 1, crop, crop): 1 where all have data,
    else 0.

    `size` is the global batch size. This rank's share is `size / world` samples. The micro-batches of all ranks are
    consecutive, so any number of ranks and micro-batches sees the same samples in the same order.
    Samples are counted through all epochs, and each epoch is a permutation of its own; a batch may span two epochs.
    """

    split: Split
    channels: dict[str, int]
    augment: Augment
    size: int = 1
    seed: int = 0
    stage: str = "train"
    grad_accum_steps: int = 1
    rank: int = 0
    world: int = 1
    extra_splits: tuple[Split, ...] = ()  # further data sets; their batches alternate with those of `split`
    balance_classes: bool = False  # sample each class, or both values of a single attribute, equally often
    random_crop_until: float = 1.0  # fraction of a stage after which images are resized to the crop size directly
    no_crop_from: int | None = None  # the first batch for which this is so
    on_bad_image: OnBadImage = "error"  # for images that became unreadable: raise, or use the next image
    unreadable: dict[str, str] = field(default_factory=dict, compare=False, repr=False)  # path: message, of all stages
    split_number: int = 0  # of `split` among all data sets
    cache: dict[Key, CachedImages] = field(default_factory=dict, compare=False, repr=False)  # see `with_cache`
    transform: SampleTransform | None = None  # of the user, on all images of a sample jointly, before `augment`

    def __post_init__(self) -> None:
        if self.size % (self.grad_accum_steps * self.world):
            raise ConfigError(
                f"batch_size={self.size} is not a multiple of grad_accum_steps={self.grad_accum_steps} x "
                f"{self.world} ranks"
            )
        if self.transform and has_nodata(self.split):
            raise ConfigError(f"augment={self.transform}: not supported for images with pixels without data (nodata)")

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        return self.load_batch(step, {})

    def with_cache(self, limit: int, processes: int) -> "Batches":
        """Return the same batches with a cache of images of `limit` bytes, shared by `processes` that load them.

        Where size and place of an image are random, or a transform of the user comes first, decoded images are kept,
        else resized ones.
        """
        augments = [self.augment] if self.random_crop_until else []
        augments += [self._without_crop()] if self.random_crop_until < 1 else []
        splits = (self.split, *self.extra_splits)
        return replace(self, cache=cache_images(splits, augments, bool(self.transform), limit, processes))

    def _without_crop(self) -> Augment:
        """Return the augmentation after `random_crop_until`: images are resized to the crop size directly."""
        return replace(self.augment, load_size=self.augment.crop_size, random_scale=None)

    def for_stage(self, stage: str, steps: int) -> "Batches":
        """Return the batches of a stage of `steps` steps."""
        no_crop_from = ceil(self.random_crop_until * steps) if self.random_crop_until < 1 else None
        return replace(self, stage=stage, no_crop_from=no_crop_from)

    def load_batch(self, step: int, unreadable: dict[str, str]) -> dict[str, Tensor]:
        """Return batch number `step`.

        Under `on_bad_image="skip"`, images that were replaced by others are added to `unreadable`, with the reason.
        """
        if self.no_crop_from is not None and step >= self.no_crop_from:
            return replace(self, augment=self._without_crop(), no_crop_from=None).load_batch(step, unreadable)
        if self.extra_splits:
            batches, own_step = self._alternate(step)
            return batches.load_batch(own_step, unreadable)
        samples = [self.sample(number, unreadable) for number in self._sample_numbers(step)]
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def image_names(self, step: int) -> list[str]:
        """Return the names of the images in a batch, for an error message about it."""
        if self.extra_splits:
            batches, own_step = self._alternate(step)
            return batches.image_names(own_step)
        names: dict[str, None] = {}
        for number in self._sample_numbers(step):
            for group_number, group in enumerate(self.split.sample_groups):
                indices, position = self._epoch_indices(group, group_number, number)
                for name in group:
                    if name in self.channels:
                        index = self._index_in_column(name, int(indices[position]), group_number, number)
                        names[image_name(self.split.columns[name], index)] = None
        return list(names)

    def _alternate(self, step: int) -> tuple["Batches", int]:
        """Return the batches of the data set whose turn it is, and the number of its batch."""
        splits = (self.split, *self.extra_splits)
        own_step, number = divmod(step, len(splits))
        stage = f"{self.stage}/{number}"
        return replace(self, split=splits[number], split_number=number, extra_splits=(), stage=stage), own_step

    def _sample_numbers(self, step: int) -> list[int]:
        """Return the numbers of this rank's samples of a batch, counted through all epochs."""
        micro_size = self.size // (self.grad_accum_steps * self.world)
        start = step * self.size + self.rank * micro_size
        stride = micro_size * self.world
        return [start + micro * stride + i for micro in range(self.grad_accum_steps) for i in range(micro_size)]

    def sample(self, number: int, unreadable: dict[str, str]) -> dict[str, Tensor]:
        """Return a sample by its number, counted through all epochs of this stage."""
        groups = [
            self._read_group(group, group_number, number, unreadable)
            for group_number, group in enumerate(self.split.sample_groups)
        ]
        if self.transform:
            groups = self._transformed(groups, number, self.transform)
        sample: dict[str, Tensor] = {}
        for group_number, values in enumerate(groups):
            pair: dict[str, np.ndarray] = {}  # of a task, by side
            for name, (index, value) in values.items():
                if name not in self.channels:
                    sample[name] = torch.as_tensor(value)
                    continue
                sample[name] = self._image(name, index, value, (group_number, number), pair)
                if has_nodata(self.split):
                    masks = replace(self.augment, color_jitter=0.0)  # which draws last: the crop is the same
                    crop = self._with_state(masks, name, (group_number, number))
                    mask = valid_tensor(self.split.columns[name], index, crop, sample[name])
                    sample[VALID] = sample.get(VALID, mask) * mask
        return sample

    def _image(
        self, name: str, index: int, value: np.ndarray, place: tuple[int, int], pair: dict[str, np.ndarray]
    ) -> Tensor:
        """Return an image of the sample at `place`, (group, number), augmented. `pair` is that of a task, made once."""
        column, transform = self.split.columns[name], self._with_state(self.augment, name, place)
        path, channels = image_name(column, index), self.channels[name]
        side = side_of(column)
        if side is None:
            return to_tensor(value, transform, channels, path)
        if not pair:
            photograph = applied(value, transform, path)
            pair.update(side.pair(photograph, reused_state(self.seed, self.stage, "task", *place)))
        return to_tensor(pair[side.side], unchanged, channels, path)

    def _with_state(self, augment: Augment, name: str, place: tuple[int, int]) -> Transform:
        """Return the augmentation of a column in the sample at `place`, with its random state."""
        # A column of another image of the class has random crops of its own.
        salt = name if name in self.split.same_class_columns else "sample"
        return partial(augment, random=reused_state(self.seed, self.stage, salt, *place))

    def _transformed(
        self, groups: list[dict[str, tuple[int, Any]]], number: int, transform: SampleTransform
    ) -> list[dict[str, tuple[int, Any]]]:
        """Return the (index, value) of each column, with all images of the sample transformed jointly."""
        images = {name: each for group in groups for name, each in group.items() if name in self.channels}
        paths = dict.fromkeys(image_name(self.split.columns[name], index) for name, (index, _) in images.items())
        arrays = {name: value for name, (_, value) in images.items()}
        arrays = transform(arrays, (self.seed, self.stage, "augment", number), ", ".join(paths))
        return [{name: (index, arrays.get(name, value)) for name, (index, value) in group.items()} for group in groups]

    def _read_group(
        self, names: Sequence[str], group_number: int, number: int, unreadable: dict[str, str]
    ) -> dict[str, tuple[int, Any]]:
        """Return (index, value) of each column of a group.

        With `on_bad_image="skip"`, a sample with an unreadable image is replaced by the next one of the epoch.
        """
        indices, position = self._epoch_indices(names, group_number, number)
        retries = int(MAX_BAD_SHARE * len(indices)) if self.on_bad_image == "skip" else 0
        while True:
            sample_index = int(indices[position % len(indices)])
            values: dict[str, tuple[int, Any]] = {}
            try:
                for name in names:
                    index = self._index_in_column(name, sample_index, group_number, number)
                    is_twin = values and side_of(self.split.columns[name])  # the same photograph
                    values[name] = index, values[names[0]][1] if is_twin else self._value(name, index)
                return values
            except DataError as error:
                if not retries:
                    raise
                unreadable[image_name(self.split.columns[name], index)] = str(error)
            position, retries = position + 1, retries - 1

    def _value(self, name: str, index: int) -> Any:
        """Return a label, or an image: decoded, or with a cache perhaps prepared, which `augment` accepts as well."""
        column: Any = self.split.columns[name]
        cached = self.cache.get((self.split_number, name, self.augment.load_size))
        if cached is None:
            return column[index]
        image = cached.get(index)
        if image is None:
            image = column[index] if self.transform else self.augment.prepare(column[index])
            cached.put(index, image)
        return image

    def _epoch_indices(self, names: Sequence[str], group_number: int, number: int) -> tuple[np.ndarray, int]:
        """Return the order of these columns in the epoch of a sample, and the position of the sample in it."""
        length = len(self.split.columns[names[0]])
        sizes: tuple[int, ...] = ()
        if self.balance_classes and any(name not in self.channels for name in names):
            sizes = tuple(len(indices) for indices in self.split.balanced_groups)
            length = len(sizes) * max(sizes, default=0) or length
        epoch, position = divmod(number, length)
        indices = epoch_order(self.seed, self.stage, group_number, epoch, length, sizes)
        if sizes:
            indices = np.concatenate(self.split.balanced_groups)[indices]
        return indices, position

    def _index_in_column(self, name: str, index: int, group_number: int, number: int) -> int:
        """Return the index of a sample in a column: `index`, or that of another image of the same class."""
        if name not in self.split.same_class_columns:
            return index
        class_indices = next(indices for indices in self.split.class_indices if index in indices)
        others = class_indices[class_indices != index]
        if not len(others):
            return index
        return int(reused_state(self.seed, self.stage, "mate", group_number, number).choice(others))

    def stream(
        self,
        start: int,
        stop: int,
        workers: int = 0,
        pin: bool = False,
        skipped: Callable[[str], None] | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Generator[dict[str, Tensor], None, None]:
        """Yield batches `start` to `stop - 1` in order, loaded by `workers` processes; equal for any number of them.

        `skipped` is called once for each image that became unreadable, with the reason. Ends early if `interrupted`
        returns true while a batch is awaited. Raises DataError if too many images are unreadable, LoadingError if a
        worker dies or fails.
        """
        count = sum(len(files_of(split)) for split in (self.split, *self.extra_splits))
        with closing(load_ahead(self._load_with_report, start, stop, workers, interrupted)) as loaded:
            for batch, unreadable in loaded:
                self._record_unreadable(unreadable, count, skipped)
                yield {name: tensor.pin_memory() for name, tensor in batch.items()} if pin else batch

    def _load_with_report(self, step: int) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return a batch, and the images that were replaced in it, with the reasons."""
        unreadable: dict[str, str] = {}
        return self.load_batch(step, unreadable), unreadable

    def _record_unreadable(self, unreadable: dict[str, str], count: int, skipped: Callable[[str], None] | None) -> None:
        for path, reason in unreadable.items():
            if skipped and path not in self.unreadable:
                skipped(reason)
            self.unreadable[path] = reason
        if len(self.unreadable) > MAX_BAD_SHARE * count:
            raise DataError(
                f"{len(self.unreadable)} of {count} images can no longer be read, and on_bad_image=skip skips at most "
                f"1 %; the last: {next(reversed(self.unreadable.values()))}"
            )


@lru_cache(maxsize=8)
def epoch_order(
    seed: int, stage: str, group_number: int, epoch: int, length: int, sizes: tuple[int, ...] = ()
) -> np.ndarray:
    """Return the permutation of the samples of one epoch.

    With `sizes`, the numbers of samples of consecutive classes, each class occurs as often as the largest one.
    """
    random = random_state(seed, stage, "epoch", group_number, epoch)
    if not sizes:
        return random.permutation(length)
    largest, starts = max(sizes), np.cumsum((0, *sizes[:-1]))
    rounds = [[random.permutation(size) for _ in range(ceil(largest / size))] for size in sizes]
    indices = [start + np.concatenate(orders)[:largest] for start, orders in zip(starts, rounds, strict=True)]
    return random.permutation(np.concatenate(indices))
