"""What lies in a folder: which layout, how many images by split and side, of which sizes, and what is left aside.

    diptych data check FOLDER

`survey` looks at names alone, then examines the files; `faults.find` says what is wrong with them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from diptych.data.checks.manifest import Entry, Manifest, Progress, scan
from diptych.data.checks.scales import Scale, scale_among
from diptych.data.checks.unread_files import unread_files
from diptych.data.sources.file_names import names_agree
from diptych.data.sources.folders import (
    DOMAIN_FOLDERS,
    SPLITS,
    distinct_folders_of_images,
    folders_of_images,
    images_in,
    names_in,
)
from diptych.data.sources.pairs import is_side_by_side
from diptych.data.sources.tables import Array, Table, arrays_in, read_table, split_of
from diptych.errors import DataError

SIDE_BY_SIDE = "two pictures side by side in each file"
BY_NAME = "two folders, paired by name"
UNPAIRED = "two folders without pairs"
DOMAINS = "a folder for each domain"
DOMAINS_BY_NAME = "a folder for each domain, the same names in each"
TABLE = "images with a table of attributes"
UNLABELLED = "images without pairs or domains"
ARRAYS = "arrays"
NOTHING = "no images"
ALL = "all"  # the split of a set that has none


@dataclass(frozen=True)
class DomainFiles:
    """The images of one side in one split; `side` is the folder's name, or nothing where there is one side only."""

    split: str
    side: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Survey:
    root: Path
    layout: str
    parts: tuple[DomainFiles, ...] = ()
    tables: tuple[Table, ...] = ()
    arrays: tuple[Array, ...] = ()
    unread_files: Mapping[str, int] = field(
        default_factory=dict
    )  # folders, and files outside of them, with their images
    manifest: Manifest = field(default_factory=lambda: Manifest(Path()))

    @property
    def paired(self) -> bool:
        return self.layout in (BY_NAME, DOMAINS_BY_NAME)

    def entries(self, part: DomainFiles) -> list[Entry]:
        return [self.manifest.entry_of(file) for file in part.files]

    def sizes(self, side: str | None = None) -> list[tuple[int, int]]:
        """Height and width of each image that can be read, of all sides or one; of the halves of side-by-side files."""
        halves = 2 if self.layout == SIDE_BY_SIDE else 1
        entries = [entry for part in self.parts if side in (None, part.side) for entry in self.entries(part)]
        good = [entry.info for entry in entries if not entry.info.problem]
        return [(each.height, max(1, each.width // halves)) for each in good]

    @cached_property
    def splits(self) -> Mapping[str, tuple[Entry, ...]]:
        found: dict[str, list[Entry]] = {}
        for part in self.parts:
            found.setdefault(part.split, []).extend(self.entries(part))
        return {split: tuple(entries) for split, entries in found.items()}

    @cached_property
    def scale(self) -> Scale | None:
        """Between two folders that hold the same images at two sizes."""
        first = [part.files for part in self.parts if part.files and part.split == self.parts[0].split]
        return scale_among(first)


def survey(root: Path, verify: bool = False, progress: Progress | None = None) -> Survey:
    """Raises DataError if `root` is no folder; what is wrong inside is for `faults.find`."""
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give the folder that holds the images")
    layout, parts = detect_layout(root)
    names = [name for name, is_folder in sorted(names_in(root).items()) if not is_folder]
    images = sorted({file.name for part in parts for file in part.files})
    tables = tuple(table for name in names if (table := read_table(root / name, images)))
    arrays = tuple(array for name in names if name.endswith(".npz") for array in arrays_in(root / name))
    if layout == UNLABELLED and tables and len(parts) == 1:
        layout = TABLE
    if layout == NOTHING and arrays:
        layout = ARRAYS
    if splits := {name: split for table in tables for name, split in table.splits.items()}:
        parts = sorted((each for part in parts for each in _divided(part, splits)), key=_place)
    files = [file for part in parts for file in part.files]
    manifest = scan(root, files, verify=verify, progress=progress)
    known = {table.file.name for table in tables} | ({n for n in names if n.endswith(".npz")} if arrays else set())
    return Survey(root, layout, tuple(parts), tables, arrays, unread_files(root, files, known), manifest)


def detect_layout(root: Path) -> tuple[str, list[DomainFiles]]:
    """The layout and its parts, by the names of folders and files, and a look at the first headers."""
    for sides in DOMAIN_FOLDERS:
        here = [split for split in SPLITS if any((root / side.format(split)).is_dir() for side in sides)]
        parts = [
            DomainFiles(split, side.format(""), images_in(root / side.format(split)))
            for split in here
            for side in sides
        ]
        if any(part.files for part in parts):
            parts = [replace(part, side=part.side.strip("/")) for part in parts]
            return _two(parts), parts
    if _are_sides(root / "train"):
        return _by_split(root)
    flat = [DomainFiles(split, "", files) for split in SPLITS if (files := images_in(root / split))]
    if flat and flat[0].split == "train":
        return _doubles(flat), flat
    if _are_sides(root):
        parts = [DomainFiles(ALL, side, images_in(root / side)) for side in _sides(root)]
        return _many(parts), parts
    if files := images_in(root):
        parts = [DomainFiles(ALL, "", files)]
        return _doubles(parts), parts
    lying = [folder for folder in distinct_folders_of_images(root) if folder.name not in SPLITS]
    parts = [DomainFiles(ALL, folder.name, images_in(folder)) for folder in lying]
    if not parts:  # one class, say, in train/
        inside = {split: distinct_folders_of_images(root / split) for split in SPLITS}
        parts = [DomainFiles(split, each.name, images_in(each)) for split in SPLITS for each in inside[split]]
    return UNLABELLED if parts else NOTHING, parts


def _by_split(root: Path) -> tuple[str, list[DomainFiles]]:
    """train/x train/y ...: domains that each split has, or heaps to train on beside folders to measure with."""
    here = [split for split in SPLITS if _sides(root / split)]
    beside = [folder for folder in folders_of_images(root) if not folder.name.startswith(SPLITS)]
    if here == ["train"] and beside:
        heaps = [DomainFiles("train", side, images_in(root / "train" / side)) for side in _sides(root / "train")]
        return UNLABELLED, heaps + [DomainFiles("test", folder.name, images_in(folder)) for folder in beside]
    sides = sorted({side for split in here for side in _sides(root / split)})
    parts = [DomainFiles(split, side, images_in(root / split / side)) for split in here for side in sides]
    return _many(parts), parts


def _are_sides(folder: Path) -> bool:
    """Whether the folders in it are sides or domains; one that is empty may be, unless images lie beside it."""
    inside = [each for each in folders_of_images(folder) if each.name not in SPLITS]
    return len(inside) == 2 or (bool(inside) and len(_sides(folder)) > 1 and not images_in(folder))


def _sides(folder: Path) -> list[str]:
    """Folders with images or with nothing at all in them: the names of domains, one of which may have been lost."""
    inside = [name for name, is_folder in sorted(names_in(folder).items()) if is_folder and name not in SPLITS]
    return [name for name in inside if images_in(folder / name) or not names_in(folder / name)]


def _many(parts: list[DomainFiles]) -> str:
    if len({part.side for part in parts}) == 2:
        return _two(parts)
    return DOMAINS_BY_NAME if _names_agree(parts) else DOMAINS


def _two(parts: list[DomainFiles]) -> str:
    return BY_NAME if _names_agree(parts) else UNPAIRED


def _names_agree(parts: list[DomainFiles]) -> bool:
    """Whether the sides of the first split are meant as pairs."""
    full = [part for part in parts if part.files]
    return names_agree([part.files for part in full if part.split == full[0].split])


def _doubles(parts: list[DomainFiles]) -> str:
    """Whether most of the first files are twice as wide as high."""
    seen = [double for file in parts[0].files[:9] if (double := is_side_by_side(file)) is not None]
    return SIDE_BY_SIDE if 2 * sum(seen) > len(seen) else UNLABELLED


def _divided(part: DomainFiles, splits: Mapping[str, str]) -> Iterator[DomainFiles]:
    """A part without a split, as the table has it."""
    if part.split != ALL:
        yield part
        return
    where = {file: split_of(file, splits) for file in part.files}
    for split in set(where.values()):
        yield DomainFiles(split or ALL, part.side, tuple(file for file in part.files if where[file] == split))


def _place(part: DomainFiles) -> tuple[int, str, str]:
    return SPLITS.index(part.split) if part.split in SPLITS else len(SPLITS), part.split, part.side
