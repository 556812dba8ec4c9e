"""Batches: `batch(step)` is a pure function of (seed, stage, step), made ahead of the step by worker processes."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from math import ceil
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from diptych.contract import Batch
from diptych.data.config import MOST_BAD
from diptych.data.dataset import Split, files_of
from diptych.data.images import image_io as image
from diptych.data.images.transforms import Augment
from diptych.data.workers import load_ahead
from diptych.errors import ConfigError, DataError
from diptych.seeds import passing_state, random_state


@dataclass(frozen=True)
class Batches(Dataset[dict[str, Tensor]]):
    """Batch number `step` of a stage: images (N, C, crop, crop) float32 in [-1, 1], labels (N,) int64.

    `size` samples make a global batch. In it this rank has `size / world`: the micro-batches of all ranks lie one
    behind the other, so any number of ranks and micro-batches sees the same samples in the same order.
    Samples are counted through epochs, each a permutation of its own; a batch may span two of them.
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
    also: tuple[Split, ...] = ()  # of further sets, whose batches come in turns with those of `split`
    balance_classes: bool = (
        False  # each class, or images with and without the one attribute, equally often in each epoch
    )
    load_until: float = 1.0  # share of the batches of a stage after which images are resized to the crop
    with_auto_resolved: int | None = None  # the first of those
    bad: Literal["error", "skip"] = "error"  # of images that can no longer be read: raise, or take others instead
    lost: dict[str, str] = field(default_factory=dict, compare=False, repr=False)  # those, and why; of all stages

    def __post_init__(self) -> None:
        if self.size % (self.grad_accum_steps * self.world):
            raise ConfigError(
                f"batch_size={self.size} is not a multiple of grad_accum_steps={self.grad_accum_steps} x {self.world} ranks"
            )

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        return self.made(step, {})

    def of(self, stage: str, steps: int) -> "Batches":
        """Those of a stage of so many steps."""
        settled = ceil(self.load_until * steps) if self.load_until < 1 else None
        return replace(self, stage=stage, with_auto_resolved=settled)

    def made(self, step: int, lost: dict[str, str]) -> dict[str, Tensor]:
        """Batch number `step`; under `on_bad_image="skip"`, `lost` gets the images that others took the place of, and why."""
        if self.with_auto_resolved is not None and step >= self.with_auto_resolved:
            augment = replace(self.augment, load=self.augment.crop)
            return replace(self, augment=augment, with_auto_resolved=None).made(step, lost)
        if self.also:
            batches, own = self._turn(step)
            return batches.made(own, lost)
        samples = [self.sample(number, lost) for number in self._numbers(step)]
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def names(self, step: int) -> list[str]:
        """What the images of that batch are called, for an error that they have to do with."""
        if self.also:
            batches, own = self._turn(step)
            return batches.names(own)
        found: dict[str, None] = {}
        for number in self._numbers(step):
            for own, group in enumerate(self.split.drawn):
                places, place = self._places(group, own, number)
                for name in group:
                    if name in self.channels:
                        at = self._where(name, int(places[place]), own, number)
                        found[image_name(self.split.columns[name], at)] = None
        return list(found)

    def _turn(self, step: int) -> tuple["Batches", int]:
        """The set whose turn it is, and which of its batches."""
        sets = (self.split, *self.also)
        own, which = divmod(step, len(sets))
        return replace(self, split=sets[which], also=(), stage=f"{self.stage}/{which}"), own

    def _numbers(self, step: int) -> list[int]:
        """The samples of this rank's part of a batch, counted through all epochs."""
        share = self.size // (self.grad_accum_steps * self.world)
        first = step * self.size + self.rank * share
        return [first + part * share * self.world + i for part in range(self.grad_accum_steps) for i in range(share)]

    def sample(self, number: int, lost: dict[str, str]) -> dict[str, Tensor]:
        """The sample of that number, counted through all epochs of this stage."""
        drawn = {}
        for own, group in enumerate(self.split.drawn):
            for name, (at, value) in self._values(group, own, number, lost).items():
                if name in self.channels:
                    salt = (
                        name if name in self.split.same_class_columns else "sample"
                    )  # a mate is cut in a way of its own
                    cut = partial(self.augment, random=passing_state(self.seed, self.stage, salt, own, number))
                    drawn[name] = to_tensor(value, cut, self.channels[name], image_name(self.split.columns[name], at))
                else:
                    drawn[name] = torch.as_tensor(value)
        return drawn

    def _values(self, names: Sequence[str], own: int, number: int, lost: dict[str, str]) -> dict[str, tuple[int, Any]]:
        """What these columns hold, and where: at one place of the epoch; with `on_bad_image="skip"` at the next one read."""
        places, place = self._places(names, own, number)
        tries = int(MOST_BAD * len(places)) if self.bad == "skip" else 0
        while True:
            index, values = int(places[place % len(places)]), {}
            try:
                for name in names:
                    at = self._where(name, index, own, number)
                    values[name] = at, self.split.columns[name][at]
                return values
            except DataError as error:
                if not tries:
                    raise
                lost[image_name(self.split.columns[name], at)] = str(error)
            place, tries = place + 1, tries - 1

    def _places(self, names: Sequence[str], own: int, number: int) -> tuple[np.ndarray, int]:
        """The order of these columns in the epoch of that sample, and where in it the sample is."""
        length = len(self.split.columns[names[0]])
        sizes: tuple[int, ...] = ()
        if self.balance_classes and any(name not in self.channels for name in names):
            sizes = tuple(len(each) for each in self.split.heaps)
            length = len(sizes) * max(sizes, default=0) or length
        epoch, place = divmod(number, length)
        places = order(self.seed, self.stage, own, epoch, length, sizes)
        return (np.concatenate(self.split.heaps)[places] if sizes else places), place

    def _where(self, name: str, index: int, own: int, number: int) -> int:
        """The place of a sample in a column: `index`, or that of another image of the same class."""
        if name not in self.split.same_class_columns:
            return index
        members = next(each for each in self.split.members if index in each)
        others = members[members != index]
        return int(passing_state(self.seed, self.stage, "mate", own, number).choice(others)) if len(others) else index

    def stream(
        self,
        start: int,
        stop: int,
        workers: int = 0,
        pin: bool = False,
        skipped: Callable[[str], None] | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Generator[dict[str, Tensor], None, None]:
        """Batches `start` to `stop - 1` in order, made ahead by `workers` processes; the same for any number.

        `skipped` is told once of each image that could no longer be read. Ends early where `interrupted` turns true
        while a batch is awaited. Raises DataError when too many images cannot be read, LoadingError when a worker dies
        or fails.
        """
        count = sum(len(files_of(split)) for split in (self.split, *self.also))
        with closing(load_ahead(self._noted, start, stop, workers, interrupted)) as loaded:
            for batch, lost in loaded:
                self._count(lost, count, skipped)
                yield {name: tensor.pin_memory() for name, tensor in batch.items()} if pin else batch

    def _noted(self, step: int) -> tuple[dict[str, Tensor], dict[str, str]]:
        """A batch, and the images that others took the place of in it, with the reasons."""
        lost: dict[str, str] = {}
        return self.made(step, lost), lost

    def _count(self, lost: dict[str, str], count: int, skipped: Callable[[str], None] | None) -> None:
        for path, why in lost.items():
            if skipped and path not in self.lost:
                skipped(why)
            self.lost[path] = why
        if len(self.lost) > MOST_BAD * count:
            raise DataError(
                f"{len(self.lost)} of {count} images can no longer be read, and on_bad_image=skip leaves out 1 % at most; "
                f"the last: {next(reversed(self.lost.values()))}"
            )


@lru_cache(maxsize=8)
def order(seed: int, stage: str, column: int, epoch: int, length: int, sizes: tuple[int, ...] = ()) -> np.ndarray:
    """The permutation of one epoch; of classes of these `sizes`, one behind the other, each as often as the largest."""
    random = random_state(seed, stage, "epoch", column, epoch)
    if not sizes:
        return random.permutation(length)
    most, starts = max(sizes), np.cumsum((0, *sizes[:-1]))
    rounds = [[random.permutation(size) for _ in range(-(-most // size))] for size in sizes]
    places = [start + np.concatenate(each)[:most] for start, each in zip(starts, rounds, strict=True)]
    return random.permutation(np.concatenate(places))


def held_out(
    split: Split, channels: dict[str, int], augment: Augment, count: int, classes: Sequence[str] = ()
) -> Batch:
    """`count` samples as one batch, resized and cropped without chance. Aligned only if the split is.

    They are the first ones; where the samples have labels, which lie in order, they are spread over all of them, and
    what is drawn apart from those is of other samples. Where every scene is known in each of the `classes`, `image of
    CLASS` is it.
    """
    count = min(count, *(len(column) for column in split.columns.values()))
    labelled = any(name not in channels for name in split.columns)
    places, batch = np.arange(count), {}
    for group, names in enumerate(split.drawn if labelled else [tuple(split.columns)]):
        if labelled:
            places = np.linspace(0, len(split.columns[names[0]]) - 1, count).round().astype(int)
        for name in names:
            column, shifted = split.columns[name], np.roll(places, group * (count // 2)).tolist()
            if name in channels:
                batch[name] = _stacked(column, shifted, augment, channels[name])
            else:
                batch[name] = torch.as_tensor(np.asarray(column)[shifted])
    image = next(iter(channels))
    for number, name in enumerate(classes):
        known = (
            [split.twins.get((split.scene_ids[place], number)) for place in places.tolist()]
            if split.scene_ids
            else [None]
        )
        found = [place for place in known if place is not None]
        if len(found) == count:
            batch[f"{image} of {name}"] = _stacked(split.columns[image], found, augment, channels[image])
    return batch


def _stacked(column: Any, places: Sequence[int], augment: Augment, channels: int) -> Tensor:
    return torch.stack([to_tensor(column[i], augment.still, channels, image_name(column, i)) for i in places])


def to_tensor(array: np.ndarray, cut: Callable[[np.ndarray], np.ndarray], channels: int, path: str) -> Tensor:
    """(H, W, C) of any dtype, cut, as (channels, crop, crop) float32 in [-1, 1]. Errors name it by `path`."""
    try:
        array = cut(array)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    planes = np.ascontiguousarray(image.with_channels(array, channels, path).transpose(2, 0, 1))
    return torch.from_numpy(image.to_unit(planes))


def image_name(column: object, index: int) -> str:
    """What to call one image in an error."""
    name = getattr(column, "name", None)
    return name(index) if callable(name) else f"image {index}"
