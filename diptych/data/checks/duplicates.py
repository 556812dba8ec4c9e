"""Duplicate images of a data set: copies within a split, and images that occur in more than one split.

Uniform images, such as empty masks and white pages, are never reported as duplicates.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np

from diptych.data.checks.manifest import Entry
from diptych.data.images import image_io
from diptych.errors import ImageError

BANDS = 16  # bands of 16 bits; hashes that differ in fewer than 16 bits have a band in common
MAX_DISTANCE = 10  # differing bits of near-duplicates
MIN_BITS_SET = 10  # set bits needed for each differing bit
MAX_BUCKET = 200  # images with the same value of a band; above it the band is ignored, such as a white border
MAX_DIFFERENCE = 0.15  # of the range, at any pixel of 16 x 16; JPEG of quality 60 stays below


def exact_duplicates(entries: Iterable[Entry]) -> list[tuple[str, ...]]:
    """Return groups of paths of files with the same bytes, each sorted."""
    groups: dict[str, list[str]] = {}
    for entry in entries:
        if entry.info.sha256 and not entry.info.problem and not _is_uniform(entry):
            groups.setdefault(entry.info.sha256, []).append(entry.path)
    return [tuple(sorted(paths)) for paths in groups.values() if len(paths) > 1]


def split_leaks(splits: Mapping[str, Sequence[Entry]]) -> list[tuple[str, ...]]:
    """Return groups of paths of files with the same bytes that are in more than one split."""
    split_of = {entry.path: name for name, entries in splits.items() for entry in entries}
    groups = exact_duplicates({entry.path: entry for entries in splits.values() for entry in entries}.values())
    return [group for group in groups if len({split_of[path] for path in group}) > 1]


def near_duplicates(root: Path, splits: Mapping[str, Sequence[Entry]]) -> list[tuple[str, str]]:
    """Return pairs of paths in two splits that show the same image in different files: re-encoded, resized or trimmed.

    Candidates have similar hashes; then the pixels are compared.
    """
    hashed = [
        [entry for entry in entries if entry.info.difference_hash and not _is_uniform(entry)]
        for entries in splits.values()
    ]
    candidates = [
        pair for ours, theirs in combinations(hashed, 2) if ours and theirs for pair in _candidate_pairs(ours, theirs)
    ]
    thumbnail = lru_cache(maxsize=4096)(_thumbnail)
    return sorted((a, b) for a, b in candidates if _is_similar(thumbnail(root / a), thumbnail(root / b)))


def is_same_image(a: Path, b: Path) -> bool:
    """Return whether two files show the same image, at any size; False if one cannot be read."""
    return _is_similar(_thumbnail(a), _thumbnail(b))


def _thumbnail(file: Path) -> np.ndarray | None:
    """Return an image as 16 x 16 RGB in [0, 1]; None if it cannot be read."""
    try:
        array = image_io.with_channels(image_io.read(file), 3, file)
    except ImageError:
        return None
    return image_io.to_unit(image_io.resize(array, 16, 16)) / 2 + 0.5


def _is_similar(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is not None and b is not None and bool(np.abs(a - b).max() <= MAX_DIFFERENCE)


def _candidate_pairs(ours: Sequence[Entry], theirs: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    """Yield pairs of paths with similar hashes and different bytes."""
    left, right = (_bits(entries) for entries in (ours, theirs))
    candidates = np.unique(
        np.concatenate([_matching_pairs(a, b) for a, b in zip(_bands(left), _bands(right), strict=True)]), axis=0
    )
    for start in range(0, len(candidates), 10_000):
        first, second = candidates[start : start + 10_000].T
        a, b = left[first], right[second]
        distance = (a != b).sum(axis=1)
        near = (distance <= MAX_DISTANCE) & (distance * MIN_BITS_SET <= np.minimum(a.sum(axis=1), b.sum(axis=1)))
        for i, j in zip(first[near], second[near], strict=True):
            if ours[i].info.sha256 != theirs[j].info.sha256:
                yield ours[i].path, theirs[j].path


def _matching_pairs(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return the index pairs (pairs, 2) of equal values, except values that are too common in `theirs`."""
    order = np.argsort(theirs, kind="stable")
    start, stop = (np.searchsorted(theirs[order], ours, side) for side in ("left", "right"))
    count = np.where(stop - start > MAX_BUCKET, 0, stop - start)
    first = np.repeat(np.arange(len(ours)), count)
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.stack([first, order[np.repeat(start, count) + step]], axis=1)


def _bits(entries: Sequence[Entry]) -> np.ndarray:
    """Return the hashes as bits (files, 256)."""
    raw = b"".join(bytes.fromhex(entry.info.difference_hash or "") for entry in entries)
    return np.unpackbits(np.frombuffer(raw, np.uint8).reshape(-1, 32), axis=1)


def _bands(bits: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the value of each band, of 16 bits from all over the image, so that a white border affects few bands."""
    spread = np.random.RandomState(0).permutation(256).reshape(BANDS, -1)
    for positions in spread:
        yield np.packbits(bits[:, positions], axis=1).astype(np.int64) @ np.array([256, 1])


def _is_uniform(entry: Entry) -> bool:
    """Return whether an image has no contrast, by its hash."""
    return not int(entry.info.difference_hash or "0", 16)
