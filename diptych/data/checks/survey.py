"""Survey a folder: its layout, the images of each split and domain, tables, arrays, and files that are not read.

    diptych data check FOLDER

`survey` detects the layout from the names, then inspects the files; `problems.find_problems` reports problems.
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

SIDE_BY_SIDE = "two images side by side in each file"
BY_NAME = "two folders, paired by name"
UNPAIRED = "two folders of unpaired images"
DOMAINS = "a folder for each domain"
DOMAINS_BY_NAME = "a folder for each domain, the same names in each"
TABLE = "images with a table of attributes"
UNLABELLED = "images without pairs or domains"
ARRAYS = "arrays"
NOTHING = "no images"
ALL = "all"  # the split of a data set without splits


@dataclass(frozen=True)
class DomainFiles:
    """The images of one domain in one split. `domain` is the name of the folder; empty for a single domain."""

    split: str
    domain: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Survey:
    """The layout and the images of a folder, and the scan of its files."""

    root: Path
    layout: str
    parts: tuple[DomainFiles, ...] = ()
    tables: tuple[Table, ...] = ()
    arrays: tuple[Array, ...] = ()
    unread_files: Mapping[str, int] = field(default_factory=dict)  # number of files by folder, and single files
    manifest: Manifest = field(default_factory=lambda: Manifest(Path()))
    settings: tuple[str, ...] = ()  # `split=` and `group_by=`, if methods are to open the folder with them

    @property
    def paired(self) -> bool:
        """Whether images are paired by file name."""
        return self.layout in (BY_NAME, DOMAINS_BY_NAME)

    def entries(self, part: DomainFiles) -> list[Entry]:
        """Return the scan results of the files."""
        return [self.manifest.entry_of(file) for file in part.files]

    def sizes(self, domain: str | None = None) -> list[tuple[int, int]]:
        """Return the (height, width) of each readable image of a domain, or of all; of halves if side by side."""
        halves = 2 if self.layout == SIDE_BY_SIDE else 1
        entries = [entry for part in self.parts if domain in (None, part.domain) for entry in self.entries(part)]
        readable = [entry.info for entry in entries if not entry.info.problem]
        return [(info.height, max(1, info.width // halves)) for info in readable]

    @cached_property
    def splits(self) -> Mapping[str, tuple[Entry, ...]]:
        """The scan results of each split."""
        by_split: dict[str, list[Entry]] = {}
        for part in self.parts:
            by_split.setdefault(part.split, []).extend(self.entries(part))
        return {split: tuple(entries) for split, entries in by_split.items()}

    @cached_property
    def scale(self) -> Scale | None:
        """The scale between two folders with the same images at two sizes; else None."""
        first = [part.files for part in self.parts if part.files and part.split == self.parts[0].split]
        return scale_among(first)


def survey(
    root: Path, verify: bool = False, progress: Progress | None = None, group_table: Path | None = None
) -> Survey:
    """Return the survey of a folder, with its problems. Raises DataError only if `root` is not a folder.

    `group_table` is the table of `group_by`, which is read although it may have no row for most images.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give the folder of the images")
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
        parts = sorted((divided for part in parts for divided in _divide(part, splits)), key=_sort_key)
    files = [file for part in parts for file in part.files]
    manifest = scan(root, files, verify=verify, progress=progress)
    read_names = {table.file.name for table in tables} | {name for name in names if root / name == group_table}
    if arrays:
        read_names |= {name for name in names if name.endswith(".npz")}
    return Survey(root, layout, tuple(parts), tables, arrays, unread_files(root, files, read_names), manifest)


def detect_layout(root: Path) -> tuple[str, list[DomainFiles]]:
    """Return the layout and the files of each split and domain, from names and from the headers of the first files."""
    for domains in DOMAIN_FOLDERS:
        splits = [split for split in SPLITS if any((root / domain.format(split)).is_dir() for domain in domains)]
        parts = [
            DomainFiles(split, domain.format(""), images_in(root / domain.format(split)))
            for split in splits
            for domain in domains
        ]
        if any(part.files for part in parts):
            parts = [replace(part, domain=part.domain.strip("/")) for part in parts]
            return _layout_of_pair(parts), parts
    if _has_domains(root / "train"):
        return _by_split(root)
    flat = [DomainFiles(split, "", files) for split in SPLITS if (files := images_in(root / split))]
    if flat and flat[0].split == "train":
        return _layout_of_files(flat), flat
    if _has_domains(root):
        parts = [DomainFiles(ALL, domain, images_in(root / domain)) for domain in _domain_names(root)]
        return _layout_of_domains(parts), parts
    if files := images_in(root):
        parts = [DomainFiles(ALL, "", files)]
        return _layout_of_files(parts), parts
    folders = [folder for folder in distinct_folders_of_images(root) if folder.name not in SPLITS]
    parts = [DomainFiles(ALL, folder.name, images_in(folder)) for folder in folders]
    if not parts:  # for example a single class in train/
        inside = {split: distinct_folders_of_images(root / split) for split in SPLITS}
        parts = [DomainFiles(split, folder.name, images_in(folder)) for split in SPLITS for folder in inside[split]]
    return UNLABELLED if parts else NOTHING, parts


def _by_split(root: Path) -> tuple[str, list[DomainFiles]]:
    """train/x train/y ...: the domains of each split; or unlabelled training images beside folders of test images."""
    splits = [split for split in SPLITS if _domain_names(root / split)]
    beside = [folder for folder in folders_of_images(root) if not folder.name.startswith(SPLITS)]
    if splits == ["train"] and beside:
        train = [
            DomainFiles("train", domain, images_in(root / "train" / domain)) for domain in _domain_names(root / "train")
        ]
        return UNLABELLED, train + [DomainFiles("test", folder.name, images_in(folder)) for folder in beside]
    domains = sorted({domain for split in splits for domain in _domain_names(root / split)})
    parts = [DomainFiles(split, domain, images_in(root / split / domain)) for split in splits for domain in domains]
    return _layout_of_domains(parts), parts


def _has_domains(folder: Path) -> bool:
    """Return whether the folders in `folder` are domains. An empty one may be, unless there are images beside it."""
    inside = [child for child in folders_of_images(folder) if child.name not in SPLITS]
    return len(inside) == 2 or (bool(inside) and len(_domain_names(folder)) > 1 and not images_in(folder))


def _domain_names(folder: Path) -> list[str]:
    """Return the names of folders with images, and of empty folders, which may be domains whose images are missing."""
    inside = [name for name, is_folder in sorted(names_in(folder).items()) if is_folder and name not in SPLITS]
    return [name for name in inside if images_in(folder / name) or not names_in(folder / name)]


def _layout_of_domains(parts: list[DomainFiles]) -> str:
    if len({part.domain for part in parts}) == 2:
        return _layout_of_pair(parts)
    return DOMAINS_BY_NAME if _names_agree(parts) else DOMAINS


def _layout_of_pair(parts: list[DomainFiles]) -> str:
    return BY_NAME if _names_agree(parts) else UNPAIRED


def _names_agree(parts: list[DomainFiles]) -> bool:
    """Return whether the domains of the first split are pairs by name."""
    filled = [part for part in parts if part.files]
    return names_agree([part.files for part in filled if part.split == filled[0].split])


def _layout_of_files(parts: list[DomainFiles]) -> str:
    """Return `SIDE_BY_SIDE` if most of the first files are twice as wide as high, else `UNLABELLED`."""
    doubles = [double for file in parts[0].files[:9] if (double := is_side_by_side(file)) is not None]
    return SIDE_BY_SIDE if 2 * sum(doubles) > len(doubles) else UNLABELLED


def _divide(part: DomainFiles, splits: Mapping[str, str]) -> Iterator[DomainFiles]:
    """Yield the parts of images without splits, by the splits of a table."""
    if part.split != ALL:
        yield part
        return
    split_by_file = {file: split_of(file, splits) for file in part.files}
    for split in set(split_by_file.values()):
        yield DomainFiles(split or ALL, part.domain, tuple(file for file in part.files if split_by_file[file] == split))


def _sort_key(part: DomainFiles) -> tuple[int, str, str]:
    return SPLITS.index(part.split) if part.split in SPLITS else len(SPLITS), part.split, part.domain
