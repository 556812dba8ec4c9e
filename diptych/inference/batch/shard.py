"""Shards of a job: which process translates which images."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from diptych.errors import ConfigError

Each = TypeVar("Each")


@dataclass(frozen=True)
class Shard:
    """Shard `index` of `count`, from 0 on: every `count`-th item. Shards are disjoint, and together they have all."""

    index: int = 0
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"

    def of(self, items: Iterable[Each]) -> Iterator[Each]:
        """Yield the items of this shard, in order."""
        return islice(items, self.index, None, self.count)

    def size(self, total: int) -> int:
        """Return how many of `total` items are in this shard."""
        return len(range(self.index, total, self.count))


def shard_of(text: str | None) -> Shard:
    """Return the shard `i/n`; without a text that of this process of torchrun (RANK, WORLD_SIZE). ConfigError."""
    name, (index, _, count) = f"--shard {text}", (text or "").partition("/")
    if text is None:
        index, count = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        name = f"RANK={index} WORLD_SIZE={count}"
    is_shard = all(number.isdecimal() and len(number) < 8 for number in (index, count)) and int(index) < int(count)
    if not is_shard:
        raise ConfigError(f"{name}: expected i/n with i from 0 to n-1, such as --shard 0/4 to --shard 3/4")
    return Shard(int(index), int(count))
