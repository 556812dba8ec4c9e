"""Images with a class each: a folder for each class, in train/, val/ and test/ or without splits.

train/cat/ train/dog/ val/cat/ ...       trainA/ trainB/ testA/ ... (classes A and B)       cat/ dog/
"""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from diptych.data.layouts import HELD_OUT, SPLITS, Data, Pictures, Split, folders_of_images, images_in, names_in
from diptych.errors import DataError

LABELLED = ("image", "label")  # a method that asks for these names needs a class for each image


def open_labelled(root: Path, names: Sequence[str], chosen: tuple[str, ...] | None) -> Data:
    """The folder as columns of images and class numbers; of its classes those that are `chosen`, or all.

    Raises DataError that names a class without images, one that training never sees, or a stray folder.
    """
    splits = {split: found for split in SPLITS if (found := _classes(root, split))} or {"train": _plain(root)}
    train = splits.get("train")
    if not train or len(train) < 2:
        raise DataError(
            f"{root}: no two classes to tell apart. Give a folder for each: train/cat and train/dog, "
            f"trainA and trainB, or just cat and dog"
        )
    classes = tuple(name for name in train if not chosen or name in chosen)
    for split, found in splits.items():
        _check(root, split, found, classes, chosen)
    made = {split: _split({name: found[name] for name in classes}, names) for split, found in splits.items()}
    counts = ", ".join(f"{len(train[name])} {name}" for name in classes[:12]) + (", ..." if len(classes) > 12 else "")
    for name in HELD_OUT:
        if name in made:
            summary = f"{root}: {counts}; {len(made[name])} in {name}"
            return Data(made["train"], made[name], summary, test=made.get("test"), classes=classes)
    kept, unseen = (
        {name: tuple(file for file in train[name] if _is_held_out(file) == held_out) for name in classes}
        for held_out in (False, True)
    )
    if not all(kept.values()) or not all(unseen.values()):
        raise DataError(f"{root}: too few images to hold any out; put some of each class into val/")
    held_out = _split(unseen, names)
    note = f"no val or test folder: {len(held_out)} images are held out, chosen by name"
    return Data(_split(kept, names), held_out, f"{root}: {counts}", (note,), classes=classes)


def _classes(root: Path, split: str) -> dict[str, tuple[Path, ...]]:
    """The files of each class of a split, by name; a class without images too."""
    inside = [name for name, is_folder in sorted(names_in(root / split).items()) if is_folder]
    if inside:
        return {name: images_in(root / split / name) for name in inside}
    return {side: files for side in "AB" if (files := images_in(root / f"{split}{side}"))}


def _plain(root: Path) -> dict[str, tuple[Path, ...]]:
    """A folder for each class, by name; folders of splits are no classes."""
    return {folder.name: images_in(folder) for folder in folders_of_images(root) if folder.name not in SPLITS}


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
        raise DataError(f"{root}: {', '.join(empty[:5])} in {split} has no images: fill it, or remove the folder")


def _split(classes: Mapping[str, tuple[Path, ...]], names: Sequence[str]) -> Split:
    image, label = names
    files = tuple(file for found in classes.values() for file in found)
    numbers = [number for number, found in enumerate(classes.values()) for _ in found]
    return Split({image: Pictures(files), label: numbers}, aligned=True)


def _is_held_out(file: Path) -> bool:
    """By a hash of the name, the same on every machine, and for one motif in all classes."""
    return zlib.crc32(file.stem.encode()) % 20 == 0
