"""What a folder of images means: pairs side by side, pairs by name in two folders, or two heaps without pairs.

train/ val/ test/           files of two pictures side by side            paired
trainA/ trainB/ testA/ ...  two folders; paired where the names agree     paired or unpaired
A/train B/train A/test ...  the same, the other way round
train/x train/y val/x ...   the same, folders of any name
x/ y/                       two folders of any name, without splits

Where more than two folders lie side by side, `sides` names the two to take. What counts as an image here goes by its
name alone: a damaged file, a dangling link or a folder named x.png is found by `policy.checked`, not passed over.
"""

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from diptych.data import image
from diptych.data.config import DataConfig
from diptych.data.manifest import Entry, confirm
from diptych.errors import DataError, ImageError, nearest
from diptych.plain import plain_yaml

PAIRED = ("source", "target")  # a method that asks for these names needs pairs
Column = Sequence[np.ndarray] | Sequence[int] | np.ndarray  # images (H, W, C), decoded when asked for; or labels
HELD_OUT = ("val", "test")  # splits that training never sees, by preference
SPLITS = ("train", *HELD_OUT)
NAMED_SIDES = (("{}A", "{}B"), ("A/{}", "B/{}"))  # of a split: two ways in which its two folders are called
WAYS = (
    "train/ of files with two pictures side by side; trainA/ and trainB/; A/train and B/train; train/ with two folders "
    "in it; or just two folders of images"
)
JUNK = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX", "$RECYCLE.BIN"})


@dataclass(frozen=True)
class Pictures(Sequence[np.ndarray]):
    """The decoded images of one side, each (H, W, C); `half` 0 or 1 cuts the left or right half out of each file.

    With `entries`, one for each file, a file that changed since it was examined is a DataError.
    """

    files: tuple[Path, ...]
    half: int | None = None
    entries: tuple[Entry, ...] = field(default=(), compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        entry = self.entries[index] if self.entries else None
        if self.half is None:
            return _read(self.files[index], entry)
        array = _last_read(self.files[index], entry)
        middle = array.shape[1] // 2
        return array[:, :middle] if self.half == 0 else array[:, -middle:]

    def name(self, index: int) -> str:
        return str(self.files[index])

    def channels(self) -> int:
        """Of the first thousand files, by their headers: 3 if grey and colour mix. DataError for other mixes."""
        first = {image.probe(file).channels: file for file in reversed(self.files[:1000])}
        if len(first) > 1 and set(first) != {1, 3}:
            found = ", ".join(f"{count} in {file}" for count, file in sorted(first.items()))
            raise DataError(f"the images of one side have different channel counts: {found}")
        return max(first)


def _read(file: Path, entry: Entry | None) -> np.ndarray:
    if entry:
        confirm(file, entry)
    return image.read(file)


_last_read = lru_cache(maxsize=1)(_read)  # the two halves of a file are asked for one after the other: decoded once


@dataclass(frozen=True)
class Split:
    """Columns by name, images or labels. Aligned: the same index in each column is the same scene."""

    columns: Mapping[str, Column]
    aligned: bool

    def named(self, names: Sequence[str]) -> "Split":
        """The same columns under other names, in order."""
        return replace(self, columns=dict(zip(names, self.columns.values(), strict=True)))

    def swapped(self) -> "Split":
        """The first and second column change places under the same names: the other direction."""
        return replace(self, columns=dict(zip(self.columns, reversed(list(self.columns.values())), strict=True)))

    def __len__(self) -> int:
        """Samples in an epoch: the longest column."""
        return max(len(column) for column in self.columns.values())


def files_of(split: Split) -> tuple[Path, ...]:
    """The files behind its pictures, each once."""
    columns = [column for column in split.columns.values() if isinstance(column, Pictures)]
    return tuple(dict.fromkeys(file for column in columns for file in column.files))


@dataclass(frozen=True)
class Data:
    train: Split
    held_out: Split
    summary: str  # one line for a person: what was found where
    notes: tuple[str, ...] = ()
    test: Split | None = None  # where validation and test are both there
    classes: tuple[str, ...] = ()  # what its labels stand for


def open_folder(config: DataConfig, names: Sequence[str]) -> Data:
    """The folder `config.root` as columns called `names`, training and held out.

    Raises DataError that names what is missing: the folder, a side, the partner of a file (the first five).
    """
    root = root_of(config)
    splits = find_splits(root, config.layout, tuple(names) == PAIRED, config.sides)
    splits = {
        name: (split.swapped() if config.direction == "b2a" else split).named(names) for name, split in splits.items()
    }
    train = splits["train"] if tuple(names) == PAIRED else replace(splits["train"], aligned=False)
    kind = "pairs" if train.aligned else "images without pairs"
    counts = (
        " + ".join(str(len(column)) for column in dict.fromkeys(train.columns.values()))
        if not train.aligned
        else len(train)
    )
    for name in HELD_OUT:
        if name in splits:
            return Data(
                train, splits[name], f"{root}: {counts} {kind}, {len(splits[name])} in {name}", test=splits.get("test")
            )
    kept, held_out = without_every_twentieth(splits["train"])
    note = f"no val or test folder: {len(held_out)} of {len(train)} are held out, chosen by name"
    if not all(len(column) for split in (kept, held_out) for column in split.columns.values()):
        kept = held_out = splits["train"]
        note = "no val or test folder, and too few images to hold any out: figures are of images seen in training"
    return Data(replace(kept, aligned=train.aligned), held_out, f"{root}: {counts} {kind}", (note,))


def root_of(config: DataConfig) -> Path:
    """The folder of a data set. DataError if it is none."""
    root = Path(config.root).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give one by --data FOLDER, or --data glyphs for the embedded letters")
    return root


def find_splits(root: Path, layout: str, paired: bool, sides: tuple[str, str] | None = None) -> dict[str, Split]:
    """Splits by name, `train` always among them."""
    lying = many_folders(root)
    for side in sides or ():
        if not any((root / place / side).is_dir() for place in ("train", "")):
            here = f"there are {', '.join(lying)}" if lying else "there are no folders of images"
            raise DataError(f"{root}: no folder is called {side}{nearest(side, lying)}; {here}")
    folders = two_folders(root, sides) if layout != "side_by_side" else {}
    if "train" in folders:
        return {name: _sides(*both, paired=paired) for name, both in folders.items()}
    flat = {name: files for name in SPLITS if (files := images_in(root / name))}
    if layout != "folders" and not sides and (files := flat.get("train") or images_in(root)):
        flat["train"] = files
        return {name: side_by_side(files, sure=layout == "side_by_side") for name, files in flat.items()}
    raise DataError(
        f"{root}: no images to train on. A folder for Diptych holds one of: {WAYS} "
        f"({', '.join(sorted(image.SUFFIXES))})"
        + (f". Here are {', '.join(lying)}: choose two by {sides_setting(lying)}" if len(lying) > 2 else "")
    )


def two_folders(root: Path, sides: tuple[str, str] | None = None) -> dict[str, tuple[Path, Path]]:
    """The two folders of each split, in whichever of the four ways they are laid out; of many, the two `sides`."""
    found = {}
    for name in SPLITS:
        if sides:
            options = [(root / name / sides[0], root / name / sides[1])]
        else:
            inside = folders_of_images(root / name)
            options = [
                *((root / a.format(name), root / b.format(name)) for a, b in NAMED_SIDES),
                *([(inside[0], inside[1])] if len(inside) == 2 else []),
            ]
        for a, b in options:
            if images_in(a) or images_in(b):
                found[name] = (a, b)
                break
    plain = [root / side for side in sides] if sides else folders_of_images(root)
    if not found and len(plain) == 2 and any(map(images_in, plain)) and not {p.name for p in plain} & set(SPLITS):
        found["train"] = (plain[0], plain[1])
    return found


def many_folders(root: Path) -> list[str]:
    """The names of the folders of images that lie side by side, in `train` or else in the root itself."""
    inside = folders_of_images(root / "train") or [p for p in folders_of_images(root) if p.name not in SPLITS]
    return [folder.name for folder in inside]


def sides_setting(names: Sequence[str]) -> str:
    """The first two as a setting; quoted where YAML would read other things than names."""
    plain = f"[{names[0]},{names[1]}]"
    with suppress(ValueError):
        if plain_yaml(plain) == list(names[:2]):
            return f"sides={plain}"
    return f"sides={json.dumps(names[:2])}"


def side_by_side(files: tuple[Path, ...], sure: bool) -> Split:
    """Pairs from files of two pictures; unless the caller is `sure`, most of the first nine are twice as wide."""
    odd = [] if sure else [file for file in files[:9] if is_double(file) is False]
    if 2 * len(odd) >= min(9, len(files)) and odd:
        header = image.probe(odd[0])
        raise DataError(
            f"{odd[0]}: {header.width}x{header.height} does not look like two square pictures side by side; "
            f"if it is, say layout=side_by_side; else give two folders, trainA/ and trainB/"
        )
    return Split({"a": Pictures(files, 0), "b": Pictures(files, 1)}, aligned=True)


def is_double(file: Path) -> bool | None:
    """Whether a file is twice as wide as high; None if that cannot be read."""
    try:
        header = image.probe(file)
    except ImageError:
        return None
    return header.width == 2 * header.height


def _sides(a: Path, b: Path, paired: bool) -> Split:
    first, second = images_in(a), images_in(b)
    for folder, files in ((a, first), (b, second)):
        if not files:
            raise DataError(f"{folder}: no images in it ({', '.join(sorted(image.SUFFIXES))})")
    if not paired:
        return Split({"a": Pictures(first), "b": Pictures(second)}, aligned=False)
    ours, theirs = ({file.stem: file for file in files} for files in (first, second))
    for folder, files, stems in ((a, first, ours), (b, second, theirs)):
        if len(stems) < len(files):
            twice = next(file for file in files if stems[file.stem] != file)
            raise DataError(
                f"{twice}: another file in {folder} has the same name before the suffix; pairs are found by it"
            )
    if alone := sorted(ours.keys() ^ theirs.keys()):
        raise DataError(
            f"{len(alone)} images have no partner of the same name in {a} and {b}: {', '.join(alone[:5])}"
            f"{', ...' if len(alone) > 5 else ''}. A method that needs no pairs takes folders like these"
        )
    return Split(
        {"a": Pictures(tuple(ours.values())), "b": Pictures(tuple(theirs[stem] for stem in ours))}, aligned=True
    )


def without_every_twentieth(split: Split) -> tuple[Split, Split]:
    """Training and held-out parts of a set without splits: by a hash of the name, the same on every machine."""

    def part(pictures: Pictures, held_out: bool) -> Pictures:
        return replace(
            pictures, files=tuple(f for f in pictures.files if (zlib.crc32(f.stem.encode()) % 20 == 0) == held_out)
        )

    train, held_out = (
        {name: part(column, side) for name, column in split.columns.items() if isinstance(column, Pictures)}
        for side in (False, True)
    )
    return replace(split, columns=train), replace(split, columns=held_out)


def images_in(folder: Path) -> tuple[Path, ...]:
    """What is named like an image in it, in the order of the names; nothing if it is no folder."""
    return tuple(folder / name for name in sorted(names_in(folder)) if named_like_image(name))


def folders_of_images(folder: Path) -> list[Path]:
    inside = [folder / name for name, is_folder in sorted(names_in(folder).items()) if is_folder]
    return [each for each in inside if images_in(each)]


def names_in(folder: Path) -> dict[str, bool]:
    """The names in a folder, and which are folders: none that is named like an image. Hidden ones are left out.

    Empty if it is no folder; DataError if it must not be read.
    """
    try:
        with os.scandir(folder) as found:
            seen = [each for each in found if not (each.name.startswith(".") or each.name in JUNK)]
            return {each.name: not named_like_image(each.name) and each.is_dir() for each in seen}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error


def named_like_image(name: str) -> bool:
    return name.lower().endswith(image.SUFFIXES)
