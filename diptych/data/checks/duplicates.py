"""Files of a set that are the same, or look the same: copies within a split, and leaks from one split into another.

A picture that is flat (an empty mask, a white page) is like every other one; it never counts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np

from diptych.data.checks.manifest import Entry
from diptych.data.images import image_io
from diptych.errors import ImageError

BANDS = 16  # of 16 bits; two hashes less than 16 bits apart have one in common
APART = 10  # bits by which near-duplicates differ at most
SHARE = 10  # and at most one in so many of the bits that are set
CROWD = 200  # pictures with the same band: it says nothing, such as the white border of all
UNLIKE = 0.15  # of the range, anywhere at 16 x 16: a heart of another colour; JPEG of quality 60 stays below


def exact_duplicates(entries: Iterable[Entry]) -> list[tuple[str, ...]]:
    """Groups of paths with the same bytes, each in order."""
    groups: dict[str, list[str]] = {}
    for entry in entries:
        if entry.info.sha256 and not entry.info.problem and not _flat(entry):
            groups.setdefault(entry.info.sha256, []).append(entry.path)
    return [tuple(sorted(paths)) for paths in groups.values() if len(paths) > 1]


def split_leaks(splits: Mapping[str, Sequence[Entry]]) -> list[tuple[str, ...]]:
    """Groups of paths with the same bytes that lie in more than one split."""
    where = {entry.path: name for name, entries in splits.items() for entry in entries}
    found = exact_duplicates({entry.path: entry for entries in splits.values() for entry in entries}.values())
    return [group for group in found if len({where[path] for path in group}) > 1]


def near_duplicates(root: Path, splits: Mapping[str, Sequence[Entry]]) -> list[tuple[str, str]]:
    """Pairs of paths in two splits, of other bytes, that are one picture: stored again, scaled, or cut by a little.

    Found by their hashes, then decided by reading both.
    """
    kept = [
        [entry for entry in entries if entry.info.difference_hash and not _flat(entry)] for entries in splits.values()
    ]
    found = [pair for ours, theirs in combinations(kept, 2) if ours and theirs for pair in _near(ours, theirs)]
    small = lru_cache(maxsize=4096)(_small)
    return sorted((a, b) for a, b in found if _alike(small(root / a), small(root / b)))


def is_same_image(a: Path, b: Path) -> bool:
    """Return whether two files are one picture, at whatever size; False if one cannot be read."""
    return _alike(_small(a), _small(b))


def _small(file: Path) -> np.ndarray | None:
    """16 x 16 in colour within 0..1; None for what cannot be compared."""
    try:
        array = image_io.with_channels(image_io.read(file), 3, file)
    except ImageError:
        return None
    return image_io.to_unit(image_io.resize(array, 16, 16)) / 2 + 0.5


def _alike(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is not None and b is not None and bool(np.abs(a - b).max() <= UNLIKE)


def _near(ours: Sequence[Entry], theirs: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    left, right = (_bits(entries) for entries in (ours, theirs))
    candidates = np.unique(
        np.concatenate([_meeting(a, b) for a, b in zip(_bands(left), _bands(right), strict=True)]), axis=0
    )
    for start in range(0, len(candidates), 10_000):
        first, second = candidates[start : start + 10_000].T
        a, b = left[first], right[second]
        apart = (a != b).sum(axis=1)
        near = (apart <= APART) & (apart * SHARE <= np.minimum(a.sum(axis=1), b.sum(axis=1)))
        for i, j in zip(first[near], second[near], strict=True):
            if ours[i].info.sha256 != theirs[j].info.sha256:
                yield ours[i].path, theirs[j].path


def _meeting(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(pairs, 2): the places in `ours` and `theirs` that have the same value, unless a crowd has it."""
    order = np.argsort(theirs, kind="stable")
    start, stop = (np.searchsorted(theirs[order], ours, side) for side in ("left", "right"))
    count = np.where(stop - start > CROWD, 0, stop - start)
    first = np.repeat(np.arange(len(ours)), count)
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.stack([first, order[np.repeat(start, count) + step]], axis=1)


def _bits(entries: Sequence[Entry]) -> np.ndarray:
    """(files, 256) of 0 and 1."""
    raw = b"".join(bytes.fromhex(entry.info.difference_hash or "") for entry in entries)
    return np.unpackbits(np.frombuffer(raw, np.uint8).reshape(-1, 32), axis=1)


def _bands(bits: np.ndarray) -> Iterator[np.ndarray]:
    """Each of 16 bits from all over the picture, so that a white border does not make all of them equal."""
    spread = np.random.RandomState(0).permutation(256).reshape(BANDS, -1)
    for places in spread:
        yield np.packbits(bits[:, places], axis=1).astype(np.int64) @ np.array([256, 1])


def _flat(entry: Entry) -> bool:
    return not int(entry.info.difference_hash or "0", 16)
