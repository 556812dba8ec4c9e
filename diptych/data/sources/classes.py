"""Images with class labels: a folder for each class, in train/, val/ and test/ or without splits.

train/cat/ train/dog/ val/cat/ ...       trainA/ trainB/ testA/ ... (classes A and B)       cat/ dog/
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from diptych.contract import Labels
from diptych.data.checks.unread_files import explain_empty, explain_no_images
from diptych.data.config import DataConfig
from diptych.data.dataset import Data, Split
from diptych.data.image_columns import ImageFiles
from diptych.data.sources.file_names import stem_of
from diptych.data.sources.folders import (
    HELD_OUT,
    SPLITS,
    folders_of_images,
    held_out_fraction,
    images_in,
    is_held_out,
    names_in,
)
from diptych.data.sources.split_by_ratio import FileSplits, by_ratio, check_given_splits, splits_of_files
from diptych.errors import DataError, listed

LABELLED = ("image", "label")  # the columns
REFERENCED = (*LABELLED, "reference", "other", "target")  # with two reference images of the target class
MIN_IMAGES = 2  # training images of a class


def open_classes(root: Path, config: DataConfig) -> Data:
    """Return columns `image` and `label`, the class number, for the classes in `folders`, or for all.

    Raises DataError for a class without images, one without training images, or an unexpected folder.
    """
    chosen = config.folders
    splits, file_splits = _splits(root, config)
    train = splits.get("train")
    if not train and (others := [name for name in splits if name != "train"]):
        raise DataError(
            f"{root}: has {', '.join(others)}, but no training images: put a folder for each class into train/"
        )
    if not train or len(train) < 2:
        why = f": {why}" if (why := explain_no_images(root)) else ""
        raise DataError(
            f"{root}: at least two classes are required{why}. Use a folder for each: train/cat and train/dog, "
            f"trainA and trainB, or only cat and dog; or a table of attributes beside the images"
        )
    classes = tuple(name for name in train if not chosen or name in chosen)
    for split, folders in splits.items():
        _check(root, split, folders, classes, chosen)
    opened = {
        split: _split({name: folders[name] for name in classes}, config.matched_names)
        for split, folders in splits.items()
    }
    counts = listed([f"{len(train[name])} {name}" for name in classes], 12)
    labels = (Labels(names=classes),)
    for name in HELD_OUT:
        if name in opened:
            summary = f"{root}: {counts}; {len(opened[name])} in {name}"
            notes = (file_splits.note,) if file_splits.note else ()
            data = Data(opened["train"], opened[name], summary, notes, test=opened.get("test"), labels=labels)
            return replace(data, group_of=file_splits.group_of)
    chosen_files = {name: _held_out(train[name], config.holdout_fraction) for name in classes}
    rest = {name: tuple(file for file in train[name] if file not in chosen_files[name]) for name in classes}
    unseen = {name: tuple(file for file in train[name] if file in chosen_files[name]) for name in classes}
    if not all(rest.values()) or not all(unseen.values()):
        raise DataError(f"{root}: too few images to hold any out; put some images of each class into val/")
    held_out = _split(unseen, config.matched_names)
    note = f"no val or test folder: {len(held_out)} images are held out, chosen by name"
    return Data(_split(rest, config.matched_names), held_out, f"{root}: {counts}", (note,), labels=labels, by_name=True)


def has_classes(root: Path) -> bool:
    """Return whether a folder has class folders of images."""
    return any(_classes(root, split) for split in SPLITS) or len(_without_splits(root)) > 1


def with_references(split: Split) -> Split:
    """Return a split with reference images: `reference` with its class `target`, and `other`, of the same class.

    The references are the same images as in `image`, sampled independently.
    """
    image, label = (split.columns[name] for name in LABELLED)
    columns = dict(zip(REFERENCED, (image, label, image, image, label), strict=True))
    groups = (LABELLED, REFERENCED[2:])
    return Split(
        columns,
        aligned=False,
        groups=groups,
        same_class_columns=("other",),
        scene_ids=split.scene_ids,
        labels=split.labels,
    )


def _classes(root: Path, split: str) -> dict[str, tuple[Path, ...]]:
    """Return the files of each class of a split, by name; empty for a class without images."""
    inside = [name for name, is_folder in sorted(names_in(root / split).items()) if is_folder]
    if inside:
        return {name: images_in(root / split / name) for name in inside}
    return {side: files for side in "AB" if (files := images_in(root / f"{split}{side}"))}


def _without_splits(root: Path) -> dict[str, tuple[Path, ...]]:
    """Return the files of class folders without splits, by name; folders of splits are not classes."""
    return {folder.name: images_in(folder) for folder in folders_of_images(root) if folder.name not in SPLITS}


def _splits(root: Path, config: DataConfig) -> tuple[dict[str, dict[str, tuple[Path, ...]]], FileSplits]:
    """Return the class folders of each split, and what defines the splits if these are no folders.

    That is a table beside the class folders, or `split=`; without both, all images are in `train`.
    """
    splits = {split: folders for split in SPLITS if (folders := _classes(root, split))}
    held_out = [name for name in HELD_OUT if name in splits]
    if held_out:
        by_split = {split: [file for files in splits[split].values() for file in files] for split in splits}
        check_given_splits(root, by_split, config, "its folders")
        return splits, FileSplits()
    folders = splits.get("train") or _without_splits(root)
    chosen = {name: files for name, files in folders.items() if not config.folders or name in config.folders} or folders
    scenes = {name: [(file,) for file in files] for name, files in chosen.items()}
    divide_by = by_ratio if splits else splits_of_files
    file_splits = divide_by(root, scenes, config)
    if not file_splits.split_of:
        return {"train": folders}, file_splits
    names = set(file_splits.split_of.values())
    parts = {
        split: {name: tuple(f for f in files if file_splits.split_of[f] == split) for name, files in chosen.items()}
        for split in SPLITS
        if split in names
    }
    return parts, file_splits


def _held_out(files: Sequence[Path], fraction: float | None) -> frozenset[Path]:
    """Return the files of a class to hold out: a fraction of them, or those that `is_held_out` chooses."""
    if fraction is not None:
        return held_out_fraction(files, fraction)
    return frozenset(file for file in files if is_held_out(file))


def _check(
    root: Path,
    split: str,
    folders: Mapping[str, tuple[Path, ...]],
    classes: tuple[str, ...],
    chosen: tuple[str, ...] | None,
) -> None:
    """Raise DataError if a split has other folders than the classes, or a class has too few images."""
    if not chosen and (unexpected := sorted(folders.keys() - set(classes))):
        raise DataError(
            f"{root}: {split} has {listed(unexpected, 5)}, which train does not have: remove it, or add it to train"
        )
    if missing := sorted({*classes, *(chosen or ())} - folders.keys()):
        raise DataError(f"{root}: {split} has no folder {listed(missing, 5)}; there are {', '.join(folders)}")
    if empty := [name for name in classes if not folders[name]]:
        reasons = "; ".join(filter(None, (explain_empty(root / split / name) for name in empty[:2])))
        remedy = reasons or "add images, or remove the folder"
        raise DataError(f"{root}: {listed(empty, 5)} in {split} has no images: {remedy}")
    few = [name for name in classes if len(folders[name]) < MIN_IMAGES]
    if few and split == "train":
        raise DataError(
            f"{root}: {listed(few, 5)} has a single image, and a class needs at least {MIN_IMAGES}: add more, or "
            f"remove it"
        )


def _split(classes: Mapping[str, Sequence[Path]], matched_names: bool) -> Split:
    """Return columns `image` and `label`, class by class. With `matched_names`, file names are the scene ids."""
    files = tuple(file for class_files in classes.values() for file in class_files)
    labels = [number for number, class_files in enumerate(classes.values()) for _ in class_files]
    scene_ids = [stem_of(file) for file in files] if matched_names else []
    for name, class_files in classes.items() if matched_names else ():
        counts = Counter(stem_of(file) for file in class_files)
        if repeated := [file for file in class_files if counts[stem_of(file)] > 1]:
            raise DataError(
                f"{repeated[-1]}: {name} has two images with this name, and matched_names=true needs names that occur "
                f"once; rename or remove one"
            )
    return Split({"image": ImageFiles(files), "label": labels}, aligned=True, scene_ids=scene_ids)
