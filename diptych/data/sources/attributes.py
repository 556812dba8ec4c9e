"""Images with a table of attributes: CelebA's form (a line with the count, one with the names, then 1 or -1), or a CSV.

list_attr_celeba.txt  list_eval_partition.txt  images/        attributes.csv (name,Smiling,Young,split)  000001.jpg ...

A partition file says which images are for training (0), validation (1) and test (2); so may a column `split`.
"""

import csv
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from diptych.contract import Labels
from diptych.data.config import DataConfig
from diptych.data.dataset import Data, ImageFiles, Split
from diptych.data.sources.file_names import normalized, stem_of
from diptych.data.sources.folders import HELD_OUT, SPLITS, folders_of_images, images_in, is_held_out, names_in
from diptych.data.sources.tables import is_table, read_rows, read_table, splits_from_tables
from diptych.errors import DataError, nearest, printable, shown

VALUES = {"1": 1, "-1": 0, "0": 0, "true": 1, "false": 0, "yes": 1, "no": 0}
PUBLISHED_TEST = 1999  # of the published code, which stops before its 2,000th (Choi et al. 2018)
TRAINED_ON = 0.8  # of each class, the first images of it (Dong et al. 2017)


@dataclass(frozen=True)
class Attributes:
    """The rows of a table in its order: a file each, and 0 or 1 by attribute."""

    file: Path
    names: tuple[str, ...]
    files: tuple[Path, ...]
    values: np.ndarray  # (N, K) of int64


def find_table(root: Path, config: DataConfig) -> Path | None:
    """The table of the set: as `table` says, or the only one there with the attributes. DataError if there are two."""
    if config.table:
        if not is_table(root / config.table):
            raise DataError(f"{root / config.table}: no table that can be read; it is a .csv, .tsv or .txt file")
        return root / config.table
    files = [root / name for name in names_in(root) if is_table(root / name)]
    tables = [table for file in files if (table := read_table(file, _called(root)))]
    found = [table.file for table in tables if table.columns > 1 or not table.splits]
    if len(found) > 1 and config.attributes:  # CelebA has boxes and landmarks in tables too
        found = [file for file in found if set(config.attributes) <= set(read_rows(file)[0])] or found
    if len(found) > 1:
        raise DataError(f"{root}: {', '.join(file.name for file in found)} are all tables: choose one by table=NAME")
    return found[0] if found else None


def open_attributes(root: Path, file: Path, config: DataConfig) -> Data:
    """Columns `image` and `label`, a row of 0 and 1 for each image. Raises DataError that names line or image."""
    table = read_attributes(file, _images(root), config.attributes)
    for name in {name for group in config.exclusive for name in group} - set(table.names):
        raise DataError(f"exclusive: {file} has no attribute {name}{nearest(name, table.names)}")
    labels = attribute_labels(table.names, config, str(file))
    parts, note = _parts(root, table, config.partition)
    made = {name: _split(table, places) for name, places in parts.items() if len(places)}
    held_out = next((name for name in HELD_OUT if name in made), None)
    if "train" not in made or held_out is None:
        raise DataError(f"{file}: no images to train on, or none to hold out; the rows are of {', '.join(made)}")
    seen = table.values[parts["train"]]
    for at, name in enumerate(table.names):
        if seen[:, at].min() == seen[:, at].max():
            which = "every" if seen[0, at] else "no"
            raise DataError(f"{file}: {which} training image has {name}, so it cannot be learnt: leave it out")
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in zip(table.names, seen.mean(0), strict=True))
    summary = f"{root}: {len(seen)} images, {shares}; {len(made[held_out])} in {held_out}"
    notes = (*([note] if note else []), *_overlaps(table, config.exclusive))
    test = made.get("test") if held_out == "val" else None
    return Data(made["train"], made[held_out], summary, notes, test=test, labels=(labels,))


def attribute_labels(names: tuple[str, ...], config: DataConfig, where: str) -> Labels:
    """DataError for an attribute named twice, also among those that exclude each other."""
    try:
        return Labels(names=names, kind="attributes", exclusive=config.exclusive)
    except ValidationError as error:
        raise DataError(f"{where}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def read_attributes(file: Path, images: Sequence[Path], chosen: tuple[str, ...]) -> Attributes:
    """The `chosen` columns of a table, or all. DataError for what is missing, double, or neither 0 nor 1."""
    try:
        head, rows = read_rows(file)
        names = chosen or tuple(name for name in head if name != "split")
        if not names:
            raise DataError(f"{file}: no column of attributes behind the names of images; are commas between them?")
        if missing := [name for name in names if name not in head]:
            there = [name for name in head if name != "split"]
            near = nearest(missing[0], there)
            raise DataError(f"{file}: no column is called {missing[0]}{near}; there are {_few(there)}")
        where = [head.index(name) + 1 for name in names]
        by_name = {stem_of(image): image for image in images} | {normalized(image.name): image for image in images}
        files, values, strange = [], [], []
        for line, row in rows:
            if len(row) != len(head) + 1:
                raise DataError(f"{file}: line {line} has {len(row) - 1} values for {len(head)} columns")
            image = by_name.get(normalized(row[0]))
            if image is None:
                strange.append(row[0])
                continue
            files.append(image)
            values.append([_value(row[at], file, line, head[at - 1]) for at in where])
    except (OSError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a table ({error})") from error
    if strange:
        raise DataError(f"{file}: {len(strange)} rows are of images that are not there: {_few(strange)}; remove them")
    rows_for = Counter(files)
    if twice := [image.name for image, count in rows_for.items() if count > 1]:
        raise DataError(f"{file}: {len(twice)} images have more than one row: {_few(twice)}; remove all but one")
    if bare := [image.name for image in images if image not in rows_for]:
        raise DataError(f"{file}: {len(bare)} images have no row: {_few(bare)}; add the rows, or remove the images")
    return Attributes(file, names, tuple(files), np.array(values, np.int64))


def _value(text: str, file: Path, line: int, name: str) -> int:
    value = VALUES.get(text.strip().lower())
    if value is None:
        raise DataError(f"{file}: line {line}: {name} is {shown(text)}; an attribute is 1 or -1, 1 or 0, true or false")
    return value


def _parts(root: Path, table: Attributes, partition: str) -> tuple[dict[str, np.ndarray], str]:
    """Places in the table by split, and a note where the split is not the table's own."""
    places = np.arange(len(table.files))
    if partition == "celeba-stargan":
        if len(places) <= PUBLISHED_TEST:
            raise DataError(
                f"{table.file}: partition=celeba-stargan tests on {PUBLISHED_TEST} images, here are {len(places)}"
            )
        shuffled = places.tolist()
        random.Random(1234).shuffle(shuffled)
        return {"train": np.array(shuffled[PUBLISHED_TEST:]), "test": np.array(shuffled[:PUBLISHED_TEST])}, ""
    if partition == "celeba-dong":
        if len(table.names) != 1:
            raise DataError(
                "partition=celeba-dong divides two classes: choose one attribute, such as attributes=[Male]"
            )
        classes = [np.flatnonzero(table.values[:, 0] == value) for value in (0, 1)]
        first, last = zip(*(np.split(each, [int(TRAINED_ON * len(each))]) for each in classes), strict=True)
        return {"train": np.sort(np.concatenate(first)), "test": np.sort(np.concatenate(last))}, ""
    if named := splits_from_tables(root, table.files):
        return {name: places[[named[file] == name for file in table.files]] for name in SPLITS}, ""
    unseen = np.array([is_held_out(file) for file in table.files])
    note = f"no partition: {unseen.sum()} images are held out, chosen by name"
    return {"train": places[~unseen], "val": places[unseen]}, note


def _overlaps(table: Attributes, groups: Sequence[Sequence[str]]) -> list[str]:
    """Notes on images that have two attributes of an exclusive group."""
    notes = []
    for group in groups:
        both = (table.values[:, [table.names.index(name) for name in group]].sum(1) > 1).sum()
        if both:
            notes.append(
                f"{both} images have more than one of {', '.join(group)}, which were said to exclude each other"
            )
    return notes


def _split(table: Attributes, places: np.ndarray) -> Split:
    files = tuple(table.files[place] for place in places)
    return Split({"image": ImageFiles(files), "label": table.values[places]}, aligned=True)


def _images(root: Path) -> tuple[Path, ...]:
    """Those in the folder itself, else those in the only folder of images below it."""
    if here := images_in(root):
        return here
    folders = folders_of_images(root)
    if len(folders) != 1:
        inside = f"{len(folders)} folders of them" if folders else "none"
        raise DataError(f"{root}: a table describes the images beside it or in one folder; here are {inside}")
    return images_in(folders[0])


def _called(root: Path) -> list[str]:
    folders = [root, *folders_of_images(root)]
    return [file.name for folder in folders for file in images_in(folder)]


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names[:5])) + (", ..." if len(names) > 5 else "") or "none"
