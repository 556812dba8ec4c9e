"""Batches: `batch(step)` is a pure function of (seed, stage, step), made ahead of the step by worker processes."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diptych.data import image
from diptych.data.layouts import Split
from diptych.data.transforms import Augment
from diptych.errors import ConfigError, DataError
from diptych.seeds import random_state


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
    micro: int = 1
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.size % (self.micro * self.world):
            raise ConfigError(f"batch={self.size} is not a multiple of micro={self.micro} x {self.world} ranks")

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        share = self.size // (self.micro * self.world)
        first = step * self.size + self.rank * share
        numbers = [first + part * share * self.world + i for part in range(self.micro) for i in range(share)]
        samples = [self.sample(number) for number in numbers]
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def sample(self, number: int) -> dict[str, Tensor]:
        """The sample of that number, counted through all epochs of this stage."""
        drawn = {}
        for position, (name, column) in enumerate(self.split.columns.items()):
            own = 0 if self.split.aligned else position
            epoch, place = divmod(number, len(column))
            index = int(order(self.seed, self.stage, own, epoch, len(column))[place])
            value = column[index]
            if isinstance(value, np.ndarray):
                random = random_state(self.seed, self.stage, "sample", own, number)
                cut = partial(self.augment, random=random)
                drawn[name] = to_tensor(value, cut, self.channels[name], label(column, index))
            else:
                drawn[name] = torch.tensor(value)
        return drawn

    def stream(self, start: int, stop: int, workers: int = 0, pin: bool = False) -> Iterator[dict[str, Tensor]]:
        """Batches `start` to `stop - 1` in order, made ahead by `workers` processes; the same for any number."""
        steps = range(start, stop)
        loader = DataLoader(
            _Posted(self),
            batch_size=None,
            sampler=steps,
            num_workers=workers,
            pin_memory=pin,
            generator=torch.Generator(),
            worker_init_fn=_prepare_worker,
            prefetch_factor=4 if workers else None,
        )
        return map(_opened, loader)


@dataclass(frozen=True)
class _Posted(Dataset[dict[str, Tensor] | DataError]):
    """Batches as workers post them: an error as it is, where `DataLoader` would wrap it in the worker's traceback."""

    batches: Batches

    def __getitem__(self, step: int) -> dict[str, Tensor] | DataError:
        try:
            return self.batches[step]
        except DataError as error:
            return error


def _opened(post: dict[str, Tensor] | DataError) -> dict[str, Tensor]:
    if isinstance(post, DataError):
        raise post
    return post


@lru_cache(maxsize=8)
def order(seed: int, stage: str, column: int, epoch: int, length: int) -> np.ndarray:
    """The permutation of one epoch."""
    return random_state(seed, stage, "epoch", column, epoch).permutation(length)


def held_out(split: Split, channels: dict[str, int], augment: Augment, count: int) -> dict[str, Tensor]:
    """The first `count` samples as one batch, resized and cropped without chance. Aligned only if the split is."""
    count = min(count, *(len(column) for column in split.columns.values()))
    pictures: dict[str, Any] = {name: c for name, c in split.columns.items() if isinstance(c[0], np.ndarray)}
    return {
        name: torch.stack([to_tensor(column[i], augment.still, channels[name], label(column, i)) for i in range(count)])
        for name, column in pictures.items()
    }


def to_tensor(array: np.ndarray, cut: Callable[[np.ndarray], np.ndarray], channels: int, path: str) -> Tensor:
    """(H, W, C) of any dtype, cut, as (channels, crop, crop) float32 in [-1, 1]. Errors name it by `path`."""
    try:
        array = cut(array)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    unit = image.to_unit(image.with_channels(array, channels, path))
    return torch.from_numpy(np.ascontiguousarray(unit.transpose(2, 0, 1)))


def label(column: object, index: int) -> str:
    """What to call one image in an error."""
    name = getattr(column, "name", None)
    return name(index) if callable(name) else f"image {index}"


def _prepare_worker(worker: int) -> None:
    """One thread each. Ctrl-C reaches the whole group, but only the trainer answers it: it still needs batches."""
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
