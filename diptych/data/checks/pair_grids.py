"""Pairs of georeferenced images that are not on one grid: a row and column of one is another place in the other."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from diptych.data.checks.manifest import Entry, listed_names
from diptych.data.dataset import Split
from diptych.data.image_columns import ImageFiles
from diptych.data.images.georeference import Georeference
from diptych.errors import DataError

REMEDY = "bring both images of a pair to one grid, for example with gdalwarp"


def check_georeferences(split: Split, entries: Mapping[Path, Entry]) -> None:
    """Raise DataError for pairs of a split that are not on one grid; images without georeference are not compared."""
    columns = [column for column in split.columns.values() if isinstance(column, ImageFiles)]
    if not split.aligned or len(columns) != 2:
        return
    first, second = ([entries[file] for file in column.files] for column in columns)
    if wrong := grid_differences(zip(first, second, strict=True)):
        names = [name for names in wrong.values() for name in names]
        raise DataError(
            f"{len(names)} of {len(columns[0])} pairs differ in {' or '.join(wrong)}: {listed_names(names)}; {REMEDY}"
        )


def grid_differences(pairs: Iterable[tuple[Entry, Entry]]) -> dict[str, list[str]]:
    """Return pairs of georeferenced images on two grids, both files with their grid, by what differs."""
    wrong: dict[str, list[str]] = {}
    for pair in pairs:
        first, second = map(_georeference, pair)
        if first is None or second is None:
            continue
        sizes = [(entry.info.width, entry.info.height) for entry in pair]
        if what := first.difference(second) or ("size" if sizes[0] != sizes[1] else ""):
            texts = [f"{entry.path} ({_describe(entry, what)})" for entry in pair]
            wrong.setdefault(what, []).append(" and ".join(texts))
    return wrong


def _describe(entry: Entry, what: str) -> str:
    return f"{entry.info.width} x {entry.info.height} pixels" if what == "size" else str(_georeference(entry))


def _georeference(entry: Entry) -> Georeference | None:
    if entry.info.transform is None:
        return None
    a, b, c, d, e, f = entry.info.transform
    return Georeference(entry.info.crs or "", (a, b, c, d, e, f))
