"""Folders of images: pairs side by side in each file, pairs by name in two folders, or unpaired domains.

train/ val/ test/           files of two images side by side              paired
trainA/ trainB/ testA/ ...  two folders; paired where the names agree     paired or unpaired
A/train B/train A/test ...  the same, the other way round
train/x train/y val/x ...   the same, folders of any name
x/ y/                       two folders of any name, without splits

If there are more than two folders, `folders` selects two of them. Images are recognised by their name alone: damaged
files, broken links or folders named x.png are reported by `unreadable.check_images`.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from diptych.data.checks.scales import check_one_size
from diptych.data.checks.unread_files import explain_empty, explain_no_images
from diptych.data.config import DataConfig
from diptych.data.dataset import Data, Split, files_of, keep_files
from diptych.data.image_columns import ImageFiles
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
from diptych.data.sources.groups import Scene
from diptych.data.sources.split_by_ratio import FileSplits, by_ratio, check_given_splits, splits_of_files
from diptych.errors import DataError, ImageError, listed, nearest
from diptych.system.safe_parse import parse_yaml

SUFFIXES = ", ".join(sorted(image_io.SUFFIXES))
LAYOUTS = (
    "train/ of files with two images side by side; trainA/ and trainB/; A/train and B/train; train/ with two folders "
    "in it; or only two folders of images"
)
FEW_IMAGES = "no val or test folder, and too few images to hold any out: scores are on images seen in training"


def open_folder(config: DataConfig, paired: bool) -> Data:
    """Return the images of `config.root`: pairs as `source` and `target`, or unpaired images as `a` and `b`.

    Raises DataError for a missing folder or domain, or for files without a partner.
    """
    root, folders = root_of(config), config.folders
    if folders and len(folders) > 2:
        raise DataError(f"folders={list(folders)}: expected two folders, as this method translates between two domains")
    match = config.pair_names if paired else None
    if match is None and config.pair_names != "exact":
        raise DataError(f"pair_names={config.pair_names}: this method uses unpaired images; leave pair_names= out")
    splits = find_splits(root, config.layout, match, (folders[0], folders[1]) if folders else None)
    names = ("source", "target") if paired else ("a", "b")
    splits = {
        name: (split.swapped() if config.direction == "b2a" else split).rename_columns(names)
        for name, split in splits.items()
    }
    train = splits["train"] if paired else replace(splits["train"], aligned=False)
    kind = "pairs" if train.aligned else "unpaired images"
    counts = (
        " + ".join(str(len(column)) for column in dict.fromkeys(train.columns.values()))
        if not train.aligned
        else len(train)
    )
    for name in HELD_OUT:
        if name in splits:
            check_given_splits(root, {split: files_of(splits[split]) for split in splits}, config, "its folders")
            return Data(
                train, splits[name], f"{root}: {counts} {kind}, {len(splits[name])} in {name}", test=splits.get("test")
            )
    file_splits = splits_of_files(root, scenes_of(splits["train"]), config)
    parts = divide(splits["train"], file_splits)
    held_out_name = next((name for name in HELD_OUT if name in parts), None)
    if "train" in parts and held_out_name:
        train = replace(parts["train"], aligned=train.aligned)
        summary = f"{root}: {len(train)} {kind}, {len(parts[held_out_name])} in {held_out_name}"
        test = parts.get("test") if held_out_name == "val" else None
        notes = (file_splits.note,) if file_splits.note else ()
        return Data(train, parts[held_out_name], summary, notes, test=test, group_of=file_splits.group_of)
    rest, held_out = hold_out(splits["train"])
    note = f"no val or test folder: {len(held_out)} of {len(train)} are held out, chosen by name"
    if not all(len(column) for split in (rest, held_out) for column in split.columns.values()):
        rest = held_out = splits["train"]
        note = FEW_IMAGES
    return Data(replace(rest, aligned=train.aligned), held_out, f"{root}: {counts} {kind}", (note,), by_name=True)


def open_unlabelled(config: DataConfig) -> Data:
    """Return all images of a folder or its splits, and of the folders inside them, as a single column `image`.

    Splits may be divided in two domains, such as trainA/ and trainB/.
    """
    root = root_of(config)
    splits = {name: files for name in SPLITS if (files := images_in_and_below(root / name))}
    if not splits:
        splits = {name: files for name in SPLITS if (files := _images_of_domains(root, name))}
        if "train" not in splits:
            splits = {"train": images_in_and_below(root)}
    if not splits.get("train"):
        reason = explain_no_images(root) or f"none in it, in train/ or in the folders inside ({SUFFIXES})"
        raise DataError(f"{root}: no images to train on: {reason}")
    for files in splits.values():
        check_one_size(files)
    opened = {name: Split({"image": ImageFiles(files)}, aligned=True) for name, files in splits.items()}
    train = opened["train"]
    if "val" not in opened and "test" not in opened:
        file_splits = by_ratio(root, {"": [(file,) for file in files_of(train)]}, config)
        opened |= divide(train, file_splits)
    else:
        check_given_splits(root, splits, config, "its folders")
        file_splits = FileSplits()
    for name in HELD_OUT:
        if name in opened:
            summary = f"{root}: {len(opened['train'])} images, {len(opened[name])} in {name}"
            notes = (file_splits.note,) if file_splits.note else ()
            test = opened.get("test")
            return Data(opened["train"], opened[name], summary, notes, test=test, group_of=file_splits.group_of)
    rest, held_out = hold_out(train)
    if not len(rest) or not len(held_out):
        return Data(train, train, f"{root}: {len(train)} images", (FEW_IMAGES,), by_name=True)
    note = f"no val or test folder: {len(held_out)} of {len(train)} are held out, chosen by name"
    return Data(rest, held_out, f"{root}: {len(rest)} images", (note,), by_name=True)


def _images_of_domains(root: Path, split: str) -> tuple[Path, ...]:
    """Return the images in trainA/ and trainB/, or in A/train and B/train."""
    folders = [root / name.format(split) for names in DOMAIN_FOLDERS for name in names]
    return tuple(file for folder in folders for file in images_in(folder))


def find_splits(root: Path, layout: str, match: str | None, folders: tuple[str, str] | None = None) -> dict[str, Split]:
    """Return the splits by name; `train` is always one of them.

    `match` is how the file names of pairs are compared; None for unpaired images. `folders` are the chosen domains.
    """
    available = domain_folders(root)
    for name in folders or ():
        if not any((root / parent / name).is_dir() for parent in ("train", "")):
            names = f"there are {', '.join(available)}" if available else "there are no folders of images"
            raise DataError(f"{root}: no folder is called {name}{nearest(name, available)}; {names}")
    domains = two_folders(root, folders) if layout != "side_by_side" else {}
    if "train" in domains:
        return {name: _two_domains(a, b, match) for name, (a, b) in domains.items()}
    flat = {name: files for name in SPLITS if (files := images_in(root / name))}
    if layout != "folders" and not folders and (files := flat.get("train") or images_in(root)):
        flat["train"] = files
        return {name: side_by_side(files, sure=layout == "side_by_side") for name, files in flat.items()}
    reason = explain_no_images(root)
    message = (
        f"{root}: no images to train on{': ' if reason else ''}{reason}. Supported layouts: {LAYOUTS} ({SUFFIXES})"
    )
    if len(available) > 2:
        message += f". Here are {', '.join(available)}: choose two by {folders_setting(available)}"
    raise DataError(message)


def two_folders(root: Path, folders: tuple[str, str] | None = None) -> dict[str, tuple[Path, Path]]:
    """Return the two domain folders of each split, in any of the four layouts; of many, the chosen `folders`."""
    splits = {}
    for name in SPLITS:
        if folders:
            options = [(root / name / folders[0], root / name / folders[1])]
        else:
            inside = folders_of_images(root / name)
            options = [
                *((root / a.format(name), root / b.format(name)) for a, b in DOMAIN_FOLDERS),
                *([(inside[0], inside[1])] if len(inside) == 2 else []),
            ]
        for a, b in options:
            if images_in(a) or images_in(b):
                splits[name] = (a, b)
                break
    if splits:
        return splits
    domains = [root / name for name in folders] if folders else folders_of_images(root)
    are_splits = bool({domain.name for domain in domains} & set(SPLITS))
    if len(domains) == 2 and any(map(images_in, domains)) and not are_splits:
        return {"train": (domains[0], domains[1])}
    return {}


def domain_folders(root: Path) -> list[str]:
    """Return the names of the folders of images in `train`, or else in the root itself."""
    folders = folders_of_images(root / "train") or [p for p in folders_of_images(root) if p.name not in SPLITS]
    return [folder.name for folder in folders]


def folders_setting(names: Sequence[str]) -> str:
    """Return the setting that chooses the first two names; quoted if YAML would not read them as text."""
    unquoted = f"[{names[0]},{names[1]}]"
    with suppress(ValueError):
        if parse_yaml(unquoted) == list(names[:2]):
            return f"folders={unquoted}"
    return f"folders={json.dumps(names[:2])}"


def side_by_side(files: tuple[Path, ...], sure: bool) -> Split:
    """Return pairs from files with two images each. Raises DataError if most of the first nine are not twice as wide.

    If `sure`, the sizes are not checked.
    """
    odd = [] if sure else [file for file in files[:9] if is_side_by_side(file) is False]
    if 2 * len(odd) >= min(9, len(files)) and odd:
        header = image_io.probe(odd[0], "values")
        raise DataError(
            f"{odd[0]}: {header.width}x{header.height} does not look like two square images side by side; "
            f"if it is, give layout=side_by_side; else use two folders, trainA/ and trainB/"
        )
    return Split({"a": ImageFiles(files, 0), "b": ImageFiles(files, 1)}, aligned=True)


def is_side_by_side(file: Path) -> bool | None:
    """Return whether a file is twice as wide as high; None if it cannot be read."""
    try:
        header = image_io.probe(file, "values")
    except ImageError:
        return None
    return header.width == 2 * header.height


def _two_domains(a: Path, b: Path, match: str | None) -> Split:
    """Return the images of two folders: pairs whose names agree by `match`, or unpaired if it is None."""
    files_a, files_b = images_in(a), images_in(b)
    for folder, files in ((a, files_a), (b, files_b)):
        if not files:
            reason = explain_empty(folder)
            raise DataError(f"{folder}: no images in it{f': {reason}' if reason else f' ({SUFFIXES})'}")
    if match is None:
        return Split({"a": ImageFiles(files_a), "b": ImageFiles(files_b)}, aligned=False)
    by_key_a, by_key_b = _files_by_key(a, files_a, match), _files_by_key(b, files_b, match)
    if unmatched := sorted(by_key_a.keys() ^ by_key_b.keys()):
        raise DataError(
            f"{len(unmatched)} images have no partner of the same name in {a} and {b}: {listed(unmatched, 5)}. "
            f"{_pairing_remedy(files_a, files_b)}"
        )
    partners = tuple(by_key_b[key] for key in by_key_a)
    return Split({"a": ImageFiles(tuple(by_key_a.values())), "b": ImageFiles(partners)}, aligned=True)


def _files_by_key(folder: Path, files: Sequence[Path], match: str) -> dict[str, Path]:
    """Return the files by matching key. Raises DataError if two have the same."""
    by_key: dict[str, Path] = {}
    for file, key in zip(files, matching_keys(files, match), strict=True):
        if (first := by_key.setdefault(key, file)) != file:
            raise DataError(
                f"{first}: another file in {folder} has the same name before the suffix, and pairs are matched by it; "
                f"rename or remove one"
            )
    return by_key


def _pairing_remedy(first: Sequence[Path], second: Sequence[Path]) -> str:
    """Return how to match the files of two folders, or which methods need no pairs."""
    if suggestion := suggest_match(first, second):
        match, description = suggestion
        return f"All have one {description}: give pair_names={match}, or rename them"
    return "A method for unpaired images can train on these folders"


def scenes_of(split: Split) -> dict[str, list[Scene]]:
    """Return the scenes of each column by its name; the pairs, by an empty name, if the columns are aligned."""
    columns = {name: column.files for name, column in split.columns.items() if isinstance(column, ImageFiles)}
    if split.aligned:
        return {"": list(zip(*columns.values(), strict=True))}
    return {name: [(file,) for file in files] for name, files in columns.items()}


def divide(split: Split, file_splits: FileSplits) -> dict[str, Split]:
    """Return the parts of a split by name; empty if nothing defines them."""
    names = set(file_splits.split_of.values())
    return {name: keep_files(split, file_splits.files_in(name)) for name in SPLITS if name in names}


def hold_out(split: Split) -> tuple[Split, Split]:
    """Return the training and held-out images of data without splits, by a hash of the name: equal on every machine.

    Partners with different names stay together: the first name in alphabetical order is hashed.
    """
    held_out: set[Path] = set()
    for scene in (scene for scenes in scenes_of(split).values() for scene in scenes):
        if name_is_held_out(min(file.stem for file in scene)):
            held_out.update(scene)
    return keep_files(split, set(files_of(split)) - held_out), keep_files(split, held_out)
