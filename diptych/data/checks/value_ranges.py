"""Detect domains that use a small part of their value range: class ids, and 12-bit values in 16-bit files."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

import numpy as np

from diptych.data.checks.manifest import Entry
from diptych.data.dataset import Data
from diptych.data.image_columns import ImageFiles
from diptych.data.images.alpha import white_of

MAX_CLASS_ID = 64  # class ids are below it; white may mean "ignore"
MAX_MEDIAN_IDS = 40  # median number of class ids per image; dark photographs have more values
NARROW = 0.25  # of the range; some photograph of a domain exceeds it


def class_ids(entries: Sequence[Entry]) -> list[int]:
    """Return the sorted pixel values of a domain if they are probably class ids (few small integers); else nothing.

    White is treated as void; a mask of black and white has no class ids.
    """
    infos = [entry.info for entry in entries]
    values_of_images = [info.values for info in infos if info.values is not None]
    if not values_of_images or len(values_of_images) < len(infos):
        return []
    white = white_of(np.dtype(infos[0].dtype))
    ids = {value for values in values_of_images for value in values if value != white}
    per_image = [len(values) for values in values_of_images]
    if len(ids) < 2 or max(ids) >= MAX_CLASS_ID or max(per_image) < 2 or median(per_image) > MAX_MEDIAN_IDS:
        return []
    return sorted(ids)


def narrow_range(entries: Sequence[Entry]) -> tuple[float, float, float] | None:
    """Return (lowest, highest, white) of a domain whose pixel values span less than a quarter of the range; else None.

    None for 8 bits, where dark images are too common, for mixed dtypes, and for a single value.
    """
    if len({entry.info.dtype for entry in entries}) != 1 or entries[0].info.dtype == "uint8":
        return None
    known = [(e.info.low, e.info.high) for e in entries if e.info.low is not None and e.info.high is not None]
    low, high = min((low for low, _ in known), default=0), max((high for _, high in known), default=0)
    white = white_of(np.dtype(entries[0].info.dtype))
    return (low, high, white) if 0 < high - low < NARROW * white else None


def advice(name: str, entries: Iterable[Entry], label_map: str = "") -> str:
    """Return a note on a domain with class ids or a narrow range; empty for any other.

    `label_map` is the value of this setting that selects the domain, or empty.
    """
    good = [entry for entry in entries if not entry.info.problem]
    if not good:
        return ""
    if any(entry.info.needs_range for entry in good):
        lows = [entry.info.low for entry in good if entry.info.low is not None]
        highs = [entry.info.high for entry in good if entry.info.high is not None]
        span = f"{min(lows, default=0):g} to {max(highs, default=0):g}"
        return f"{name} holds values from {span}: range=auto or range=[LOW,HIGH] says what they mean, and is required"
    if ids := class_ids(good):
        remedy = f"class ids? label_map={label_map} trains on them as classes; " if label_map else ""
        return f"{name} holds {len(ids)} values, {ids[0]} to {ids[-1]}: {remedy}range=auto if they are intensities"
    if limits := narrow_range(good):
        low, high, white = limits
        lowest = f", lowest {low:g}" if low > NARROW * white else ""
        return f"{name} has the highest value {high:g} of {white}{lowest}: range=auto uses the full range"
    return ""


def notes_on_ranges(data: Data) -> Iterator[str]:
    """Yield a note on each domain of the training images with class ids or a narrow range."""
    image_columns = {
        name: column for name, column in data.train.columns.items() if isinstance(column, ImageFiles) and column.entries
    }
    maps = dict(zip(image_columns, ("source", "target"), strict=False)) if len(image_columns) == 2 else {}
    done = set()
    for name, column in image_columns.items():
        if column.files in done:  # the other half of side-by-side files
            continue
        done.add(column.files)
        folders = {entry.path.rpartition("/")[0] for entry in column.entries}
        domain = (folders.pop() if len(folders) == 1 else "") or name
        label_map = maps.get(name, "") if column.half is None else ""
        if note := advice(domain, column.entries, label_map):
            yield note
