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
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from diptych.data.checks.scales import check_one_size
from diptych.data.checks.unread_files import explain_empty, explain_no_images
from diptych.data.config import DataConfig
from diptych.data.dataset import Data, ImageFiles, Split, files_of, keep_files
from diptych.data.images import image_io
from diptych.data.sources.file_names import matching_keys, suggest_match
from diptych.data.sources.folders import (
    DOMAIN_FOLDERS,
    HELD_OUT,
    SPLITS,
    folders_of_images,
    images_in,
    images_in_and_below,
    name_is_held_out,
    root_of,
)
from diptych.data.sources.tables import splits_from_tables
from diptych.errors import DataError, ImageError, nearest
from diptych.system.safe_parse import parse_yaml

SUFFIXES = ", ".join(sorted(image_io.SUFFIXES))
WAYS = (
    "train/ of files with two pictures side by side; trainA/ and trainB/; A/train and B/train; train/ with two folders "
    "in it; or just two folders of images"
)


def open_folder(config: DataConfig, paired: bool) -> Data:
    """The folder `config.root`, training and held out: pairs as `source` and `target`, or unpaired `a` and `b`.

    Raises DataError that names what is missing: the folder, a side, the partner of a file (the first five).
    """
    root, sides = root_of(config), config.folders
    if sides and len(sides) > 2:
        raise DataError(f"folders={list(sides)}: this method translates between two folders, name two")
    match = config.pair_names if paired else None
    if match is None and config.pair_names != "exact":
        raise DataError(f"pair_names={config.pair_names}: this method needs no pairs; leave it out")
    splits = find_splits(root, config.layout, match, (sides[0], sides[1]) if sides else None)
    names = ("source", "target") if paired else ("a", "b")
    splits = {
        name: (split.swapped() if config.direction == "b2a" else split).named(names) for name, split in splits.items()
    }
    train = splits["train"] if paired else replace(splits["train"], aligned=False)
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
    if divided := split_by_tables(root, splits["train"]):
        made = {name: replace(split, aligned=train.aligned and split.aligned) for name, split in divided.items()}
        unseen = next((name for name in HELD_OUT if name in made), None)
        if "train" in made and unseen:
            summary = f"{root}: {len(made['train'])} {kind}, {len(made[unseen])} in {unseen}"
            return Data(made["train"], divided[unseen], summary, test=divided.get("test") if unseen == "val" else None)
    kept, held_out = hold_out(splits["train"])
    note = f"no val or test folder: {len(held_out)} of {len(train)} are held out, chosen by name"
    if not all(len(column) for split in (kept, held_out) for column in split.columns.values()):
        kept = held_out = splits["train"]
        note = "no val or test folder, and too few images to hold any out: figures are of images seen in training"
    return Data(replace(kept, aligned=train.aligned), held_out, f"{root}: {counts} {kind}", (note,), by_name=True)


def open_unlabelled(config: DataConfig) -> Data:
    """All images of a folder, or of each of its splits, and of the folders in it, as the one column `image`.

    Splits may have two sides, such as trainA/ and trainB/.
    """
    root = root_of(config)
    splits = {name: heap for name in SPLITS if (heap := images_in_and_below(root / name))}
    sides = {name: heap for name in SPLITS if (heap := _named_sides(root, name))}
    splits = splits or (sides if "train" in sides else {"train": images_in_and_below(root)})
    if not splits.get("train"):
        why = explain_no_images(root) or f"in it, in train/ or in folders there ({SUFFIXES})"
        raise DataError(f"{root}: no images to train on: {why}")
    for files in splits.values():
        check_one_size(files)
    made = {name: Split({"image": ImageFiles(files)}, aligned=True) for name, files in splits.items()}
    for name in HELD_OUT:
        if name in made:
            summary = f"{root}: {len(made['train'])} images, {len(made[name])} in {name}"
            return Data(made["train"], made[name], summary, test=made.get("test"))
    kept, unseen = hold_out(made["train"])
    if not len(kept) or not len(unseen):
        note = "no val or test folder, and too few images to hold any out: figures are of images seen in training"
        return Data(made["train"], made["train"], f"{root}: {len(made['train'])} images", (note,), by_name=True)
    note = f"no val or test folder: {len(unseen)} of {len(made['train'])} are held out, chosen by name"
    return Data(kept, unseen, f"{root}: {len(kept)} images", (note,), by_name=True)


def _named_sides(root: Path, split: str) -> tuple[Path, ...]:
    """What lies in trainA/ and trainB/, or in A/train and B/train."""
    return tuple(file for ways in DOMAIN_FOLDERS for way in ways for file in images_in(root / way.format(split)))


def find_splits(root: Path, layout: str, match: str | None, sides: tuple[str, str] | None = None) -> dict[str, Split]:
    """Splits by name, `train` always among them. `match` is how names of pairs are compared; None for no pairs."""
    lying = domain_folders(root)
    for side in sides or ():
        if not any((root / place / side).is_dir() for place in ("train", "")):
            here = f"there are {', '.join(lying)}" if lying else "there are no folders of images"
            raise DataError(f"{root}: no folder is called {side}{nearest(side, lying)}; {here}")
    folders = two_folders(root, sides) if layout != "side_by_side" else {}
    if "train" in folders:
        return {name: _sides(*both, match) for name, both in folders.items()}
    flat = {name: files for name in SPLITS if (files := images_in(root / name))}
    if layout != "folders" and not sides and (files := flat.get("train") or images_in(root)):
        flat["train"] = files
        return {name: side_by_side(files, sure=layout == "side_by_side") for name, files in flat.items()}
    why = f": {why}" if (why := explain_no_images(root)) else ""
    raise DataError(
        f"{root}: no images to train on{why}. A folder for Diptych holds one of: {WAYS} "
        f"({SUFFIXES})"
        + (f". Here are {', '.join(lying)}: choose two by {folders_setting(lying)}" if len(lying) > 2 else "")
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
                *((root / a.format(name), root / b.format(name)) for a, b in DOMAIN_FOLDERS),
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


def domain_folders(root: Path) -> list[str]:
    """The names of the folders of images that lie side by side, in `train` or else in the root itself."""
    inside = folders_of_images(root / "train") or [p for p in folders_of_images(root) if p.name not in SPLITS]
    return [folder.name for folder in inside]


def folders_setting(names: Sequence[str]) -> str:
    """The first two as a setting; quoted where YAML would read other things than names."""
    plain = f"[{names[0]},{names[1]}]"
    with suppress(ValueError):
        if parse_yaml(plain) == list(names[:2]):
            return f"folders={plain}"
    return f"folders={json.dumps(names[:2])}"


def side_by_side(files: tuple[Path, ...], sure: bool) -> Split:
    """Pairs from files of two pictures; unless the caller is `sure`, most of the first nine are twice as wide."""
    odd = [] if sure else [file for file in files[:9] if is_side_by_side(file) is False]
    if 2 * len(odd) >= min(9, len(files)) and odd:
        header = image_io.probe(odd[0])
        raise DataError(
            f"{odd[0]}: {header.width}x{header.height} does not look like two square pictures side by side; "
            f"if it is, say layout=side_by_side; else give two folders, trainA/ and trainB/"
        )
    return Split({"a": ImageFiles(files, 0), "b": ImageFiles(files, 1)}, aligned=True)


def is_side_by_side(file: Path) -> bool | None:
    """Whether a file is twice as wide as high; None if that cannot be read."""
    try:
        header = image_io.probe(file)
    except ImageError:
        return None
    return header.width == 2 * header.height


def _sides(a: Path, b: Path, match: str | None) -> Split:
    first, second = images_in(a), images_in(b)
    for folder, files in ((a, first), (b, second)):
        if not files:
            why = f": {why}" if (why := explain_empty(folder)) else f" ({SUFFIXES})"
            raise DataError(f"{folder}: no images in it{why}")
    if match is None:
        return Split({"a": ImageFiles(first), "b": ImageFiles(second)}, aligned=False)
    ours, theirs = (dict(zip(matching_keys(files, match), files, strict=True)) for files in (first, second))
    for folder, files, found in ((a, first, ours), (b, second, theirs)):
        if len(found) < len(files):
            twice = next(
                file for file, key in zip(files, matching_keys(files, match), strict=True) if found[key] != file
            )
            raise DataError(
                f"{twice}: another file in {folder} has the same name before the suffix; pairs are found by it"
            )
    if alone := sorted(ours.keys() ^ theirs.keys()):
        raise DataError(
            f"{len(alone)} images have no partner of the same name in {a} and {b}: {', '.join(alone[:5])}"
            f"{', ...' if len(alone) > 5 else ''}. {_way_to_partners(first, second)}"
        )
    return Split(
        {"a": ImageFiles(tuple(ours.values())), "b": ImageFiles(tuple(theirs[stem] for stem in ours))}, aligned=True
    )


def _way_to_partners(first: Sequence[Path], second: Sequence[Path]) -> str:
    if found := suggest_match(first, second):
        match, how = found
        return f"All have one {how}: give pair_names={match}, or rename them"
    return "A method that needs no pairs takes folders like these"


def split_by_tables(root: Path, split: Split) -> dict[str, Split]:
    """A set without splits, divided as a table beside the images says; nothing if there is none."""
    named = splits_from_tables(root, files_of(split))
    return {
        each: keep_files(split, {file for file in named if named[file] == each})
        for each in SPLITS
        if each in named.values()
    }


def hold_out(split: Split) -> tuple[Split, Split]:
    """Training and held-out parts of a set without splits: by a hash of the name, the same on every machine.

    Partners whose names differ stay together, by the name that comes first.
    """
    columns = [column.files for column in split.columns.values() if isinstance(column, ImageFiles)]
    scenes = zip(*columns, strict=True) if split.aligned else ((file,) for files in columns for file in files)
    unseen = {file for scene in scenes if name_is_held_out(min(file.stem for file in scene)) for file in scene}
    return keep_files(split, set(files_of(split)) - unseen), keep_files(split, unseen)
