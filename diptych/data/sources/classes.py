"""Images with a class each: a folder for each class, in train/, val/ and test/ or without splits.

train/cat/ train/dog/ val/cat/ ...       trainA/ trainB/ testA/ ... (classes A and B)       cat/ dog/
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from diptych.contract import Labels
from diptych.data.checks.unread_files import explain_empty, explain_no_images
from diptych.data.config import DataConfig
from diptych.data.dataset import Data, ImageFiles, Split
from diptych.data.sources.file_names import stem_of
from diptych.data.sources.folders import HELD_OUT, SPLITS, folders_of_images, images_in, is_held_out, names_in
from diptych.data.sources.tables import splits_from_tables
from diptych.errors import DataError

LABELLED = ("image", "label")  # the columns
REFERENCED = (*LABELLED, "reference", "other", "target")  # with two images of the class to translate to
FEWEST = 2  # images of a class in training


def open_classes(root: Path, config: DataConfig) -> Data:
    """The folder as columns `image` and `label`, its class number; of its classes those in `sides`, or all.

    Raises DataError that names a class without images, one that training never sees, or a stray folder.
    """
    chosen = config.folders
    splits = {split: found for split in SPLITS if (found := _classes(root, split))} or _divided(root, chosen)
    train = splits.get("train")
    if not train and (others := [name for name in splits if name != "train"]):
        raise DataError(f"{root}: has {', '.join(others)}, and nothing to train on: put folders of images into train/")
    if not train or len(train) < 2:
        why = f": {why}" if (why := explain_no_images(root)) else ""
        raise DataError(
            f"{root}: no two classes to tell apart{why}. Give a folder for each: train/cat and train/dog, "
            f"trainA and trainB, or just cat and dog; or a table of attributes beside the images"
        )
    classes = tuple(name for name in train if not chosen or name in chosen)
    for split, found in splits.items():
        _check(root, split, found, classes, chosen)
    made = {
        split: _split({name: found[name] for name in classes}, config.matched_names) for split, found in splits.items()
    }
    counts = ", ".join(f"{len(train[name])} {name}" for name in classes[:12]) + (", ..." if len(classes) > 12 else "")
    labels = (Labels(names=classes),)
    for name in HELD_OUT:
        if name in made:
            summary = f"{root}: {counts}; {len(made[name])} in {name}"
            return Data(made["train"], made[name], summary, test=made.get("test"), labels=labels)
    kept, unseen = (
        {name: tuple(file for file in train[name] if is_held_out(file) == held_out) for name in classes}
        for held_out in (False, True)
    )
    if not all(kept.values()) or not all(unseen.values()):
        raise DataError(f"{root}: too few images to hold any out; put some of each class into val/")
    held_out = _split(unseen, config.matched_names)
    note = f"no val or test folder: {len(held_out)} images are held out, chosen by name"
    return Data(_split(kept, config.matched_names), held_out, f"{root}: {counts}", (note,), labels=labels, by_name=True)


def has_classes(root: Path) -> bool:
    """Whether images lie in a folder for each class."""
    return any(_classes(root, split) for split in SPLITS) or len(_plain(root)) > 1


def with_references(split: Split) -> Split:
    """`image` and `label` once more as `reference` and `target`, and with `other` images of the reference's class."""
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
    """The files of each class of a split, by name; a class without images too."""
    inside = [name for name, is_folder in sorted(names_in(root / split).items()) if is_folder]
    if inside:
        return {name: images_in(root / split / name) for name in inside}
    return {side: files for side in "AB" if (files := images_in(root / f"{split}{side}"))}


def _plain(root: Path) -> dict[str, tuple[Path, ...]]:
    """A folder for each class, by name; folders of splits are no classes."""
    return {folder.name: images_in(folder) for folder in folders_of_images(root) if folder.name not in SPLITS}


def _divided(root: Path, chosen: tuple[str, ...] | None) -> dict[str, dict[str, tuple[Path, ...]]]:
    """Folders without splits, by the table beside them if it says which image is in which."""
    found = _plain(root)
    classes = {name: files for name, files in found.items() if not chosen or name in chosen} or found
    named = splits_from_tables(root, [file for files in classes.values() for file in files])
    if not named:
        return {"train": found}
    return {
        split: {name: tuple(file for file in files if named[file] == split) for name, files in classes.items()}
        for split in SPLITS
        if split in named.values()
    }


def _check(
    root: Path,
    split: str,
    found: Mapping[str, tuple[Path, ...]],
    classes: tuple[str, ...],
    chosen: tuple[str, ...] | None,
) -> None:
    if not chosen and (strange := sorted(found.keys() - set(classes))):
        raise DataError(
            f"{root}: {split} has {', '.join(strange[:5])}, which train has not: remove it, or add it there"
        )
    if missing := sorted({*classes, *(chosen or ())} - found.keys()):
        raise DataError(f"{root}: {split} has no folder {', '.join(missing[:5])}; there are {', '.join(found)}")
    if empty := [name for name in classes if not found[name]]:
        why = "; ".join(filter(None, (explain_empty(root / split / name) for name in empty[:2])))
        way_out = why or "fill it, or remove the folder"
        raise DataError(f"{root}: {', '.join(empty[:5])} in {split} has no images: {way_out}")
    few = [name for name in classes if len(found[name]) < FEWEST]
    if few and split == "train":
        raise DataError(f"{root}: {', '.join(few[:5])} has a single image, which is no class: add more, or remove it")


def _split(classes: Mapping[str, Sequence[Path]], twins: bool) -> Split:
    files = tuple(file for found in classes.values() for file in found)
    numbers = [number for number, found in enumerate(classes.values()) for _ in found]
    motifs = [stem_of(file) for file in files] if twins else []
    for name, found in classes.items() if twins else ():
        stems = [stem_of(file) for file in found]
        if twice := [file for file in found if stems.count(stem_of(file)) > 1]:
            raise DataError(f"{twice[-1]}: {name} has two images of this name; with matched_names=true it is a scene")
    return Split({"image": ImageFiles(files), "label": numbers}, aligned=True, scene_ids=motifs)
