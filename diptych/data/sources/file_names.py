"""Match files of two folders by name: without the suffix, in Unicode form NFC."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

DIGITS = "0123456789"  # digits number the images and are not part of an affix in a message
CASEFOLD, AFFIX = "casefold", "affix"  # ways to compare names, less strict than `exact`


def normalized(name: str) -> str:
    """Return a name in Unicode form NFC: macOS stores accents as separate characters."""
    return unicodedata.normalize("NFC", name)


def stem_of(file: Path) -> str:
    """Return the name before the suffix, in Unicode form NFC."""
    return normalized(file.stem)


def matching_keys(files: Sequence[Path], match: str = "exact") -> list[str]:
    """Return the keys by which files are matched: `exact` is the name before the suffix.

    `casefold` ignores case; `affix` also ignores the prefix and the suffix that all names of the folder share.
    """
    stems = [stem_of(file) for file in files]
    if match == "exact":
        return stems
    folded = [stem.casefold() for stem in stems]
    return folded if match == CASEFOLD else _stripped(folded)


def suggest_match(first: Sequence[Path], second: Sequence[Path]) -> tuple[str, str] | None:
    """Return the value of `pair_names` by which each file has one partner, and a description of it; None if none does.

    `affix` needs two files in each folder: a single name is all prefix, so any two names would match.
    """
    for match in (CASEFOLD, AFFIX):
        keys, other_keys = matching_keys(first, match), matching_keys(second, match)
        is_match = len(keys) == len(set(keys)) == len(other_keys) and set(keys) == set(other_keys)
        if is_match and match == CASEFOLD:
            return match, "if case is ignored"
        if is_match and len(keys) > 1:
            return match, f"if the prefix and suffix of each folder are ignored ({_affixes(first, second)})"
    return None


def names_agree(folders: Sequence[Sequence[Path]]) -> bool:
    """Return whether folders are paired by name: nearly all names are in each of them."""
    stems = [set(matching_keys(files)) for files in folders]
    if len(stems) < 2:
        return False
    shared, largest = len(set.intersection(*stems)), max(map(len, stems))
    return 2 * shared >= largest and largest - shared <= max(3, largest // 10)


def _stripped(stems: Sequence[str]) -> list[str]:
    """Return the names without the prefix and suffix that all of them share."""
    start, end = _shared(stems)
    return [stem[len(start) : len(stem) - len(end)] for stem in stems]


def _shared(stems: Sequence[str]) -> tuple[str, str]:
    """Return the prefix that all names share, and the suffix that their remainders share."""
    start = _common_prefix(stems)
    rest = [stem[len(start) :][::-1] for stem in stems]
    return start, _common_prefix(rest)[::-1]


def _affixes(first: Sequence[Path], second: Sequence[Path]) -> str:
    """Return the prefix and suffix by which the names of two folders differ, such as `*_left and *_right`."""
    (start, end), (other_start, other_end) = (_shared(matching_keys(files)) for files in (first, second))
    prefix = len(_common_prefix([start, other_start]))
    suffix = len(_common_prefix([end[::-1], other_end[::-1]]))
    starts = [text[prefix:].rstrip(DIGITS) for text in (start, other_start)]
    ends = [text[: len(text) - suffix].lstrip(DIGITS) for text in (end, other_end)]
    return " and ".join(f"{start}*{end}" for start, end in zip(starts, ends, strict=True))


def _common_prefix(texts: Sequence[str]) -> str:
    """Return the longest prefix of all texts."""
    low, high = min(texts), max(texts)
    length = next((index for index, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[:length]
