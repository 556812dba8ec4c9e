"""Domains whose pixel values are a small part of what their files allow: class ids, and 12 bits in files of 16."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

import numpy as np

from diptych.data.checks.manifest import Entry
from diptych.data.dataset import Data, ImageFiles
from diptych.data.images.alpha import white_of

SMALL = 64  # class ids are below it; white may stand for "ignore"
FEW = 40  # class ids of one image, half of the images have fewer; dark photographs have more values
SHARE = 0.25  # of the range: photographs reach above it somewhere in a domain


def class_ids(entries: Sequence[Entry]) -> list[int]:
    """Return the values of a domain that look like class ids, in order: few, small and whole; else nothing.

    White stands for void where it is not the only other value: a mask of black and white has no ids.
    """
    findings = [entry.info for entry in entries]
    listed = [finding.values for finding in findings if finding.values is not None]
    if not listed or len(listed) < len(findings):
        return []
    white = white_of(np.dtype(findings[0].dtype))
    ids = {value for values in listed for value in values if value != white}
    per_image = [len(values) for values in listed]
    if len(ids) < 2 or max(ids) >= SMALL or max(per_image) < 2 or median(per_image) > FEW:
        return []
    return sorted(ids)


def narrow_range(entries: Sequence[Entry]) -> tuple[float, float, float] | None:
    """Return the lowest and the highest value of a domain, and white, if they span less than a quarter of the range.

    None for 8 bits, where dark images are too common, for domains of mixed depth, and for those of one value.
    """
    if len({entry.info.dtype for entry in entries}) != 1 or entries[0].info.dtype == "uint8":
        return None
    known = [(e.info.low, e.info.high) for e in entries if e.info.low is not None and e.info.high is not None]
    low, high = min((low for low, _ in known), default=0), max((high for _, high in known), default=0)
    white = white_of(np.dtype(entries[0].info.dtype))
    return (low, high, white) if 0 < high - low < SHARE * white else None


def advice(name: str, entries: Iterable[Entry], label_map: str = "") -> str:
    """Return a note on a domain of class ids or of a narrow range; nothing for any other.

    `label_map` is the value of that setting for this domain, empty where there is none.
    """
    good = [entry for entry in entries if not entry.info.problem]
    if not good:
        return ""
    if ids := class_ids(good):
        way_out = f"class ids? label_map={label_map} trains on them as classes; " if label_map else ""
        return f"{name} holds {len(ids)} values, {ids[0]} to {ids[-1]}: {way_out}range=auto if they are intensities"
    if found := narrow_range(good):
        low, high, white = found
        lowest = f", lowest {low:g}" if low > SHARE * white else ""
        return f"{name} has the highest value {high:g} of {white}{lowest}: range=auto uses the whole range"
    return ""


def notes_on_ranges(data: Data) -> Iterator[str]:
    """Yield a note on each domain of the training images that has class ids or a narrow range."""
    pictures = {
        name: each for name, each in data.train.columns.items() if isinstance(each, ImageFiles) and each.entries
    }
    maps = dict(zip(pictures, ("source", "target"), strict=False)) if len(pictures) == 2 else {}
    seen = set()
    for name, column in pictures.items():
        if column.files in seen:  # the other half of side by side
            continue
        seen.add(column.files)
        folders = {entry.path.rpartition("/")[0] for entry in column.entries}
        where = folders.pop() if len(folders) == 1 else ""
        if note := advice(where or name, column.entries, maps.get(name, "") if column.half is None else ""):
            yield note
