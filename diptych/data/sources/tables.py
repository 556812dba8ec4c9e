"""Tables with a row for each image, and files of arrays (.npz). Nothing is ever unpickled.

A table has CelebA's format (`name value value ...`, with two optional header lines) or is a .csv with a header line.
A column `split`, or a single column of 0, 1 and 2, defines the split of each image.
"""

import csv
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from diptych.data.sources.file_names import normalized, stem_of
from diptych.data.sources.folders import SPLITS, names_in
from diptych.errors import DataError, shown

MAX_TABLE = 256 * 2**20  # bytes; that of CelebA has 26 MB
MAX_ARRAYS = 4 * 2**30
SUFFIXES = (".txt", ".csv", ".tsv")
NAMED = ("split", "partition")
PARTITION = {"0": "train", "1": "val", "2": "test"}  # CelebA's list_eval_partition.txt


@dataclass(frozen=True)
class Table:
    """The names of images, with or without suffix, in the order of the rows, and their splits if the table has them."""

    file: Path
    names: tuple[str, ...]
    columns: int
    splits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Array:
    """One array of an .npz file: the content of its header, or a problem."""

    name: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    problem: str | None = None

    @property
    def split(self) -> str:
        """The split in the name of the array; empty if it has none."""
        return next((split for split in SPLITS if split in self.name), "")


def is_table(file: Path) -> bool:
    """Return whether a file is a table, by its suffix and size."""
    return file.suffix.lower() in SUFFIXES and file.is_file() and file.stat().st_size <= MAX_TABLE


def read_rows(file: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the names of the columns after the first (empty without a header), and the rows with their line numbers.

    Raises OSError, csv.Error.
    """
    text = file.suffix.lower() == ".txt"
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    separated = csv.reader(lines, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
    numbered = enumerate((line.split() for line in lines) if text else separated, 1)
    rows = ((number, row) for number, row in numbered if any(cell.strip() for cell in row))
    if not text:
        return next(rows, (0, [""]))[1][1:], rows
    has_header = bool(lines) and lines[0].strip().isdecimal()  # a line with the count, then one with the names
    if not has_header:
        return [], rows
    return lines[1].split() if len(lines) > 1 else [], (row for row in rows if row[0] > 2)


def read_table(file: Path, names: Sequence[str]) -> Table | None:
    """Return `file` as a table of the images `names`; None if most of its rows are about other names."""
    if not is_table(file):
        return None
    try:
        head, numbered = read_rows(file)
        split_column = head.index("split") + 1 if "split" in head else 1
        rows = [  # only two of the columns are stored
            (normalized(row[0]), row[split_column] if len(row) > split_column else "", len(row)) for _, row in numbered
        ]
    except (OSError, csv.Error):
        return None
    image_names = list(map(normalized, names))
    known = {*image_names, *(name.rpartition(".")[0] for name in image_names)}
    row_names = [name for name, _, _ in rows]
    if 2 * sum(name in known for name in row_names) <= len(row_names):
        return None
    splits = {}
    if "split" in head:
        splits = {name: split for name, split, _ in rows if split}
    elif (not head or head[0].lower() in NAMED) and all(count == 2 and split in PARTITION for _, split, count in rows):
        splits = {name: PARTITION[split] for name, split, _ in rows}
    return Table(file, tuple(row_names), max(count for _, _, count in rows) - 1, splits)


def splits_from_tables(root: Path, files: Sequence[Path]) -> dict[Path, str]:
    """Return the split of each file by a table in the folder; empty without one. Raises DataError for missing rows."""
    names = [file.name for file in files]
    tables = (read_table(root / name, names) for name in sorted(names_in(root)))
    for table in (table for table in tables if table and table.splits):
        splits = {file: split_of(file, table.splits) for file in files}
        if missing := [file for file, split in splits.items() if not split]:
            raise DataError(f"{table.file}: has no split for {len(missing)} images, such as {missing[0]}; add the rows")
        if unknown := sorted(set(splits.values()) - set(SPLITS)):
            raise DataError(f"{table.file}: expected the splits {', '.join(SPLITS)}, got {shown(unknown[0])}")
        return splits
    return {}


def split_of(file: Path, splits: Mapping[str, str]) -> str:
    """Return the split of a file in a table, by its name with or without suffix; empty if it has none."""
    return splits.get(normalized(file.name), splits.get(stem_of(file), ""))


def arrays_in(file: Path) -> list[Array]:
    """Return the arrays of an .npz file, by their headers, with verified checksums. Never raises for damaged files."""
    if not file.is_file():
        return [Array(file.name, problem="is not a file that can be read")]
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_ARRAYS:
                return [Array(file.name, problem="has more than 4 GiB")]
            return [_array(archive, member.filename) for member in archive.infolist()]
    except (OSError, zipfile.BadZipFile) as error:
        return [Array(file.name, problem=f"cannot be read ({error})")]


def _array(archive: zipfile.ZipFile, member: str) -> Array:
    """Return the header of one array, after reading it to verify the checksum."""
    name = member.removesuffix(".npy")
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with archive.open(member) as stored:
            shape, _, dtype = readers[np.lib.format.read_magic(stored)](stored)
            if dtype.hasobject:
                return Array(name, shape, "object", "has pickled Python objects, which are never loaded")
            size = 0
            while block := stored.read(2**20):  # zipfile verifies the checksum at the end
                size += len(block)
        if size != int(np.prod(shape, dtype=object)) * dtype.itemsize:
            return Array(name, shape, dtype.name, "does not have the number of values in its header")
        return Array(name, shape, dtype.name)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        return Array(name, problem=f"is damaged ({error or type(error).__name__})")
