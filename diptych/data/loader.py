"""Batches: `batch(step)` is a pure function of (seed, stage, step), made ahead of the step by worker processes."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diptych.data import image
from diptych.data.config import MOST_BAD
from diptych.data.layouts import Split, files_of
from diptych.data.transforms import Augment
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
    micro: int = 1
    rank: int = 0
    world: int = 1
    bad: Literal["error", "skip"] = "error"  # of images that can no longer be read: raise, or take others instead
    lost: dict[str, str] = field(default_factory=dict, compare=False, repr=False)  # those, and why; of all stages

    def __post_init__(self) -> None:
        if self.size % (self.micro * self.world):
            raise ConfigError(f"batch={self.size} is not a multiple of micro={self.micro} x {self.world} ranks")

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        return self.made(step, {})

    def made(self, step: int, lost: dict[str, str]) -> dict[str, Tensor]:
        """Batch number `step`; under `bad="skip"`, `lost` gets the images that others took the place of, and why."""
        samples = [self.sample(number, lost) for number in self._numbers(step)]
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def names(self, step: int) -> list[str]:
        """What the images of that batch are called, for an error that they have to do with."""
        found: dict[str, None] = {}
        for number in self._numbers(step):
            for position, column in enumerate(self.split.columns.values()):
                own = 0 if self.split.aligned else position
                epoch, place = divmod(number, len(column))
                found[label(column, int(order(self.seed, self.stage, own, epoch, len(column))[place]))] = None
        return list(found)

    def _numbers(self, step: int) -> list[int]:
        """The samples of this rank's part of a batch, counted through all epochs."""
        share = self.size // (self.micro * self.world)
        first = step * self.size + self.rank * share
        return [first + part * share * self.world + i for part in range(self.micro) for i in range(share)]

    def sample(self, number: int, lost: dict[str, str]) -> dict[str, Tensor]:
        """The sample of that number, counted through all epochs of this stage."""
        names = list(self.split.columns)
        drawn = {}
        for own, group in enumerate([names] if self.split.aligned else [[name] for name in names]):
            index, values = self._values(group, own, number, lost)
            for name, value in values.items():
                if isinstance(value, np.ndarray):
                    random = passing_state(self.seed, self.stage, "sample", own, number)
                    cut = partial(self.augment, random=random)
                    what = label(self.split.columns[name], index)
                    drawn[name] = to_tensor(value, cut, self.channels[name], what)
                else:
                    drawn[name] = torch.tensor(value)
        return drawn

    def _values(self, names: list[str], own: int, number: int, lost: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """What these columns hold at one place of the epoch; with `bad="skip"` at the next one that can be read."""
        length = len(self.split.columns[names[0]])
        epoch, place = divmod(number, length)
        places = order(self.seed, self.stage, own, epoch, length)
        tries = int(MOST_BAD * length) if self.bad == "skip" else 0
        while True:
            index, values = int(places[place % length]), {}
            try:
                for name in names:
                    values[name] = self.split.columns[name][index]
                return index, values
            except DataError as error:
                if not tries:
                    raise
                lost[label(self.split.columns[name], index)] = str(error)
            place, tries = place + 1, tries - 1

    def stream(
        self,
        start: int,
        stop: int,
        workers: int = 0,
        pin: bool = False,
        skipped: Callable[[str], None] | None = None,
    ) -> Iterator[dict[str, Tensor]]:
        """Batches `start` to `stop - 1` in order, made ahead by `workers` processes; the same for any number.

        `skipped` is told once of each image that could no longer be read. Raises DataError when there are too many.
        """
        loader = DataLoader(
            _Posted(self),
            batch_size=None,
            sampler=range(start, stop),
            num_workers=workers,
            pin_memory=pin,
            generator=torch.Generator(),
            worker_init_fn=_prepare_worker,
            prefetch_factor=4 if workers else None,
        )
        count = len(files_of(self.split))
        for post in loader:
            if isinstance(post, DataError):
                raise post
            batch, lost = post
            for path, why in lost.items():
                if skipped and path not in self.lost:
                    skipped(why)
                self.lost[path] = why
            if len(self.lost) > MOST_BAD * count:
                raise DataError(
                    f"{len(self.lost)} of {count} images can no longer be read, and bad=skip leaves out 1 % at most; "
                    f"the last: {next(reversed(self.lost.values()))}"
                )
            yield batch


@dataclass(frozen=True)
class _Posted(Dataset[Any]):
    """What workers post: a batch and what was lost for it, or the error as it is, without the worker's traceback."""

    batches: Batches

    def __getitem__(self, step: int) -> tuple[dict[str, Tensor], dict[str, str]] | DataError:
        lost: dict[str, str] = {}
        try:
            return self.batches.made(step, lost), lost
        except DataError as error:
            return error


@lru_cache(maxsize=8)
def order(seed: int, stage: str, column: int, epoch: int, length: int) -> np.ndarray:
    """The permutation of one epoch."""
    return random_state(seed, stage, "epoch", column, epoch).permutation(length)


def held_out(split: Split, channels: dict[str, int], augment: Augment, count: int) -> dict[str, Tensor]:
    """`count` samples as one batch, resized and cropped without chance. Aligned only if the split is.

    They are the first ones; where the samples have labels, which lie in order, they are spread over all of them.
    """
    count = min(count, *(len(column) for column in split.columns.values()))
    images = [name for name in split.columns if name in channels]
    labelled = len(images) < len(split.columns)
    places = np.linspace(0, len(split) - 1, count).round().astype(int).tolist() if labelled else range(count)
    batch = {}
    column: Any
    for name, column in split.columns.items():
        if name in images:
            made = [to_tensor(column[i], augment.still, channels[name], label(column, i)) for i in places]
            batch[name] = torch.stack(made)
        else:
            batch[name] = torch.tensor([column[i] for i in places])
    return batch


def to_tensor(array: np.ndarray, cut: Callable[[np.ndarray], np.ndarray], channels: int, path: str) -> Tensor:
    """(H, W, C) of any dtype, cut, as (channels, crop, crop) float32 in [-1, 1]. Errors name it by `path`."""
    try:
        array = cut(array)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    planes = np.ascontiguousarray(image.with_channels(array, channels, path).transpose(2, 0, 1))
    return torch.from_numpy(image.to_unit(planes))


def label(column: object, index: int) -> str:
    """What to call one image in an error."""
    name = getattr(column, "name", None)
    return name(index) if callable(name) else f"image {index}"


def _prepare_worker(worker: int) -> None:
    """One thread each. Ctrl-C reaches the whole group, but only the trainer answers it: it still needs batches."""
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
