"""What lies beside images and says something about them: tables with a row for each, and arrays of whole sets (.npz).

A table is CelebA's (`name value value ...`, perhaps with two lines above) or a .csv with one line above. One that has a
column `split`, or nothing but 0, 1 and 2 behind the names, says which split an image is in. Nothing is ever unpickled.
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

MAX_TABLE = 256 * 2**20  # bytes; CelebA's, the largest in use, has 26 MB
MAX_ARRAYS = 4 * 2**30
SUFFIXES = (".txt", ".csv", ".tsv")
NAMED = ("split", "partition")
PARTITION = {"0": "train", "1": "val", "2": "test"}  # CelebA's list_eval_partition.txt


@dataclass(frozen=True)
class Table:
    """Names of images, with or without suffix, in the order of the rows; `splits` is empty if it does not say."""

    file: Path
    names: tuple[str, ...]
    columns: int
    splits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Array:
    """One array of an .npz: what its header says, or what is wrong with it."""

    name: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    problem: str | None = None

    @property
    def split(self) -> str:
        return next((split for split in SPLITS if split in self.name), "")


def is_table(file: Path) -> bool:
    """Whether it is named like one, and of a size to read."""
    return file.suffix.lower() in SUFFIXES and file.is_file() and file.stat().st_size <= MAX_TABLE


def read_rows(file: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The names of the columns behind the first, none if it does not say; then each row with the number of its line.

    Raises OSError, csv.Error.
    """
    text = file.suffix.lower() == ".txt"
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    separated = csv.reader(lines, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
    numbered = enumerate((line.split() for line in lines) if text else separated, 1)
    rows = ((number, row) for number, row in numbered if any(cell.strip() for cell in row))
    if not text:
        return next(rows, (0, [""]))[1][1:], rows
    counted = bool(lines) and lines[0].strip().isdecimal()
    return lines[1].split() if counted and len(lines) > 1 else [], (each for each in rows if not counted or each[0] > 2)


def read_table(file: Path, names: Sequence[str]) -> Table | None:
    """`file` as a table of the images called `names`; None if most of its rows are about something else."""
    if not is_table(file):
        return None
    try:
        head, numbered = read_rows(file)
        where = head.index("split") + 1 if "split" in head else 1
        rows = [
            (normalized(row[0]), row[where] if len(row) > where else "", len(row)) for _, row in numbered
        ]  # of 40 columns two
    except (OSError, csv.Error):
        return None
    named = list(map(normalized, names))
    known = {*named, *(name.rpartition(".")[0] for name in named)}
    listed = [name for name, _, _ in rows]
    if 2 * sum(name in known for name in listed) <= len(listed):
        return None
    splits = {}
    if "split" in head:
        splits = {name: split for name, split, _ in rows if split}
    elif (not head or head[0].lower() in NAMED) and all(count == 2 and split in PARTITION for _, split, count in rows):
        splits = {name: PARTITION[split] for name, split, _ in rows}
    return Table(file, tuple(listed), max(count for _, _, count in rows) - 1, splits)


def splits_from_tables(root: Path, files: Sequence[Path]) -> dict[Path, str]:
    """The split of each file, where a table in the folder says it. DataError if one says it of some files alone."""
    names = [file.name for file in files]
    for table in (
        found for name in sorted(names_in(root)) if (found := read_table(root / name, names)) and found.splits
    ):
        splits = {file: split_of(file, table.splits) for file in files}
        if bare := [file for file, split in splits.items() if not split]:
            raise DataError(
                f"{table.file}: does not say of {len(bare)} images which split they are in, such as {bare[0]}"
            )
        if wrong := sorted(set(splits.values()) - set(SPLITS)):
            raise DataError(f"{table.file}: {shown(wrong[0])} is no split; they are {', '.join(SPLITS)}")
        return splits
    return {}


def split_of(file: Path, splits: Mapping[str, str]) -> str:
    """Return the split that a table has for a file, by its name or its name before the suffix; else nothing."""
    return splits.get(normalized(file.name), splits.get(stem_of(file), ""))


def arrays_in(file: Path) -> list[Array]:
    """The arrays of an .npz by their headers, each with its checksum checked. Raises nothing for a damaged file."""
    if not file.is_file():
        return [Array(file.name, problem="is no file that can be read")]
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_ARRAYS:
                return [Array(file.name, problem="holds more than 4 GiB")]
            return [_array(archive, member.filename) for member in archive.infolist()]
    except (OSError, zipfile.BadZipFile) as error:
        return [Array(file.name, problem=f"cannot be read ({error})")]


def _array(archive: zipfile.ZipFile, member: str) -> Array:
    name = member.removesuffix(".npy")
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with archive.open(member) as stored:
            shape, _, dtype = readers[np.lib.format.read_magic(stored)](stored)
            if dtype.hasobject:
                return Array(name, shape, "object", "holds pickled Python objects, which are never loaded")
            size = 0
            while block := stored.read(2**20):  # to the end: the checksum is compared there
                size += len(block)
        if size != int(np.prod(shape, dtype=object)) * dtype.itemsize:
            return Array(name, shape, dtype.name, "has more or fewer values than its header says")
        return Array(name, shape, dtype.name)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        return Array(name, problem=f"is damaged ({error or type(error).__name__})")
