"""The group of each file, by `group_by`: files of one patient, slide, place or scene belong to one split.

group_by=^([^/]+)/           a regular expression on the path relative to root: its first group, else the whole match
group_by=files.csv:patient   a column of a table in root, whose first column names the files
without                      the name before the suffix, so that files of the same name belong together
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from diptych.data.checks.manifest import listed_names, relative_path
from diptych.data.sources.file_names import normalized, stem_of
from diptych.data.sources.tables import MAX_TABLE, read_rows
from diptych.errors import DataError, nearest, printable, shown

Scene = Sequence[Path]  # files that show the same scene: the partners of a pair, or a single file
TABLE_COLUMN = re.compile(r"(?P<file>.+\.(?:csv|tsv)):(?P<column>[^:/]+)", re.IGNORECASE | re.DOTALL)


def groups_of(root: Path, scenes: Iterable[Scene], group_by: str | None) -> dict[Path, str]:
    """Return the name of the group of each file, in Unicode form NFC.

    Raises DataError for files without a group, or partners in two groups.
    """
    scenes = list(scenes)
    if group_by is None:
        return {file: name for scene in scenes for name in [min(map(stem_of, scene))] for file in scene}
    table, column = table_column(root, group_by)
    files = [file for scene in scenes for file in scene]
    paths = {file: normalized(relative_path(file, root)) for file in files}
    if table:
        by_name = _read_column(table, column)
        found = {file: next(_lookup(by_name, path), "") for file, path in paths.items()}
        remedy = f"add them to {table}"
    else:
        pattern = re.compile(group_by)
        found = {file: _group_in(pattern, path) for file, path in paths.items()}
        remedy = "change the pattern, which is searched in the path relative to root, or rename them"
    if without := [path for file, path in paths.items() if not found[file]]:
        count = f"{len(without)} of {len(files)} files have no group"
        raise DataError(f"{root}: group_by={group_by}: {count}: {listed_names(without)}; {remedy}")
    check_partners(root, scenes, found, group_by)
    return found


def table_column(root: Path, group_by: str | None) -> tuple[Path | None, str]:
    """Return the table and the column that `group_by` names; None and an empty text if it is a regular expression."""
    match = TABLE_COLUMN.fullmatch(group_by or "")
    return (root / Path(match["file"]).expanduser(), match["column"]) if match else (None, "")


def _group_in(pattern: re.Pattern[str], path: str) -> str:
    """Return the first group of a match, or the whole match if the pattern has no groups; empty without a match."""
    match = pattern.search(path)
    return (match[1 if pattern.groups else 0] or "") if match else ""


def _read_column(file: Path, column: str) -> Mapping[str, str]:
    """Return the values of a column by the names in the first column. Raises DataError."""
    groups: dict[str, str] = {}
    try:
        if file.stat().st_size > MAX_TABLE:
            raise DataError(f"group_by: {file} has more than {MAX_TABLE // 2**20} MB: give a smaller table")
        head, rows = read_rows(file)
        if column not in head:
            raise DataError(
                f"group_by: {file} has no column {shown(column)} after the one that names the files"
                f"{nearest(column, head)}; there are {listed_names(head) or 'none'}"
            )
        index = head.index(column) + 1
        for line, row in rows:
            name = normalized(row[0]).replace("\\", "/")  # as the paths that `relative_path` returns
            group = normalized(row[index].strip()) if index < len(row) else ""
            if groups.setdefault(name, group) != group:
                raise DataError(
                    f"group_by: {file}, line {line}: {printable(name)} is in {shown(groups[name])} and in "
                    f"{shown(group)}: remove one row, or name the files by their path relative to root"
                )
    except (OSError, csv.Error) as error:
        raise DataError(f"group_by: {file} cannot be read as a table ({error})") from error
    return groups


def _lookup(groups: Mapping[str, str], path: str) -> Iterator[str]:
    """Yield the groups of a file by its path or its name, each with and without suffix."""
    name = path.rpartition("/")[2]
    for text in (path, name):
        for key in (text, text.rpartition(".")[0]):
            if groups.get(key):
                yield groups[key]


def check_partners(root: Path, scenes: Iterable[Scene], groups: Mapping[Path, str], group_by: str) -> None:
    """Raise DataError if two files of one scene are in different groups."""
    for scene in scenes:
        names = [groups[file] for file in scene]
        if len(set(names)) > 1:
            first, second = (relative_path(file, root) for file in scene[:2])
            raise DataError(
                f"{root}: group_by={group_by}: {printable(first)} and {printable(second)} are a pair, but are in "
                f"the groups {shown(names[0])} and {shown(names[1])}: choose a part of the path that partners share"
            )
