"""Which files of two folders belong together by name: compared without their endings, in one Unicode form (NFC)."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

DIGITS = "0123456789"  # which number images, and are no part of an affix in a message
CASEFOLD, AFFIX = "casefold", "affix"  # ways of comparing names, looser than `exact`


def normalized(name: str) -> str:
    """Return a name in the one Unicode form: a Mac writes an accent as a letter of its own."""
    return unicodedata.normalize("NFC", name)


def stem_of(file: Path) -> str:
    """Return the name before the suffix, composed."""
    return normalized(file.stem)


def matching_keys(files: Sequence[Path], match: str = "exact") -> list[str]:
    """Return what is compared of each name.

    `casefold` ignores capitals; `affix` also the beginning and the end that all names of the folder share.
    """
    stems = [stem_of(file) for file in files]
    if match == "exact":
        return stems
    folded = [stem.casefold() for stem in stems]
    return folded if match == CASEFOLD else _stripped(folded)


def suggest_match(first: Sequence[Path], second: Sequence[Path]) -> tuple[str, str] | None:
    """Return the way of comparing names by which each file has one partner, and how that differs, for a message.

    None if there is no such way. With one file in each folder any two names would agree once all is stripped.
    """
    for match in (CASEFOLD, AFFIX):
        ours, theirs = matching_keys(first, match), matching_keys(second, match)
        agree = len(ours) == len(set(ours)) == len(theirs) and set(ours) == set(theirs)
        if agree and match == CASEFOLD:
            return match, "once capitals are ignored"
        if agree and len(ours) > 1:
            return match, f"once what all names of a folder share is left out ({_affixes(first, second)})"
    return None


def names_agree(folders: Sequence[Sequence[Path]]) -> bool:
    """Return whether folders are meant as pairs: nearly all names are in each of them."""
    stems = [set(matching_keys(files)) for files in folders]
    if len(stems) < 2:
        return False
    shared, largest = len(set.intersection(*stems)), max(map(len, stems))
    return 2 * shared >= largest and largest - shared <= max(3, largest // 10)


def _stripped(stems: Sequence[str]) -> list[str]:
    start, end = _shared(stems)
    return [stem[len(start) : len(stem) - len(end)] for stem in stems]


def _shared(stems: Sequence[str]) -> tuple[str, str]:
    """Return the beginning that all have, and the end that all have behind it."""
    start = _common(stems)
    rest = [stem[len(start) :][::-1] for stem in stems]
    return start, _common(rest)[::-1]


def _affixes(first: Sequence[Path], second: Sequence[Path]) -> str:
    """Return what the names of each folder share and the other's do not, such as `*_left and *_right`."""
    (start, end), (other_start, other_end) = (_shared(matching_keys(files)) for files in (first, second))
    before = len(_common([start, other_start]))
    behind = len(_common([end[::-1], other_end[::-1]]))
    starts = [text[before:].rstrip(DIGITS) for text in (start, other_start)]
    ends = [text[: len(text) - behind].lstrip(DIGITS) for text in (end, other_end)]
    return " and ".join(f"{start}*{end}" for start, end in zip(starts, ends, strict=True))


def _common(texts: Sequence[str]) -> str:
    """Return the beginning that all texts have."""
    low, high = min(texts), max(texts)
    count = next((place for place, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[:count]
