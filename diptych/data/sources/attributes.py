"""Images with a table of attributes: CelebA's format (a line with the count, one with the names, then 1 or -1) or CSV.

list_attr_celeba.txt  list_eval_partition.txt  images/        attributes.csv (name,Smiling,Young,split)  000001.jpg ...

A partition file lists the images for training (0), validation (1) and test (2); a column `split` may do so, too.
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
from diptych.data.dataset import Data, Split
from diptych.data.image_columns import ImageFiles
from diptych.data.sources.file_names import normalized, stem_of
from diptych.data.sources.folders import HELD_OUT, SPLITS, folders_of_images, images_in, is_held_out, names_in
from diptych.data.sources.groups import table_column
from diptych.data.sources.split_by_ratio import FileSplits, check_given_splits, splits_of_files
from diptych.data.sources.tables import is_table, read_rows, read_table
from diptych.errors import DataError, listed, nearest, printable, shown

VALUES = {"1": 1, "-1": 0, "0": 0, "true": 1, "false": 0, "yes": 1, "no": 0}
PUBLISHED_TEST = 1999  # test images of the published code, which stops before the 2,000th (Choi et al. 2018)
TRAIN_FRACTION = 0.8  # the first images of each class (Dong et al. 2017)


@dataclass(frozen=True)
class Attributes:
    """The rows of a table, in order: an image file and a value for each attribute, 0 or 1."""

    file: Path
    names: tuple[str, ...]
    files: tuple[Path, ...]
    values: np.ndarray  # (N, K) of int64


def find_table(root: Path, config: DataConfig) -> Path | None:
    """Return the table `config.table`, or the only one with the attributes. Raises DataError if there are several."""
    if config.table:
        if not is_table(root / config.table):
            raise DataError(f"{root / config.table}: not a readable table; expected a .csv, .tsv or .txt file")
        return root / config.table
    files = [root / name for name in names_in(root) if is_table(root / name)]
    tables = [table for file in files if (table := read_table(file, _image_names(root)))]
    candidates = [table.file for table in tables if table.columns > 1 or not table.splits]
    if len(candidates) > 1 and config.attributes:  # CelebA also has tables of boxes and landmarks
        candidates = [file for file in candidates if set(config.attributes) <= set(read_rows(file)[0])] or candidates
    groups, _ = table_column(root, config.group_by)
    candidates = [file for file in candidates if file != groups] or candidates
    if len(candidates) > 1:
        names = ", ".join(file.name for file in candidates)
        raise DataError(f"{root}: {names} are all tables: choose one by table=NAME")
    return candidates[0] if candidates else None


def open_attributes(root: Path, file: Path, config: DataConfig) -> Data:
    """Return columns `image` and `label`, a row of 0 and 1 for each image. Raises DataError with the line or image."""
    table = read_attributes(file, _images(root), config.attributes, _group_column(root, file, config))
    for name in {name for group in config.exclusive for name in group} - set(table.names):
        raise DataError(f"exclusive: {file} has no attribute {name}{nearest(name, table.names)}")
    labels = attribute_labels(table.names, config, str(file))
    indices, file_splits, note = _split_indices(root, table, config)
    splits = {name: _split(table, rows) for name, rows in indices.items() if len(rows)}
    held_out = next((name for name in HELD_OUT if name in splits), None)
    if "train" not in splits or held_out is None:
        raise DataError(f"{file}: training and held-out images are required; the rows are of {', '.join(splits)} only")
    train_values = table.values[indices["train"]]
    for column, name in enumerate(table.names):
        if train_values[:, column].min() == train_values[:, column].max():
            count = "every" if train_values[0, column] else "no"
            raise DataError(f"{file}: {count} training image has {name}, so it cannot be learnt: leave it out")
    means = zip(table.names, train_values.mean(0), strict=True)
    fractions = ", ".join(f"{name} {100 * mean:.0f} %" for name, mean in means)
    summary = f"{root}: {len(train_values)} images, {fractions}; {len(splits[held_out])} in {held_out}"
    notes = (*([note] if note else []), *_notes_on_overlaps(table, config.exclusive))
    test = splits.get("test") if held_out == "val" else None
    group_of = file_splits.group_of
    return Data(splits["train"], splits[held_out], summary, notes, test=test, labels=(labels,), group_of=group_of)


def attribute_labels(names: tuple[str, ...], config: DataConfig, where: str) -> Labels:
    """Return the labels of attributes. Raises DataError for an attribute given twice, also in `exclusive`."""
    try:
        return Labels(names=names, kind="attributes", exclusive=config.exclusive)
    except ValidationError as error:
        raise DataError(f"{where}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def read_attributes(file: Path, images: Sequence[Path], chosen: tuple[str, ...], group_column: str = "") -> Attributes:
    """Return the `chosen` columns of a table, or all but `split` and the `group_column`.

    Raises DataError for missing or repeated rows and bad values.
    """
    try:
        head, rows = read_rows(file)
        names = chosen or tuple(name for name in head if name not in ("split", group_column))
        if not names:
            raise DataError(f"{file}: no columns after the names of the images; are they separated by commas?")
        if missing := [name for name in names if name not in head]:
            available = [name for name in head if name != "split"]
            near = nearest(missing[0], available)
            raise DataError(f"{file}: no column is called {missing[0]}{near}; there are {_listed(available)}")
        columns = [head.index(name) + 1 for name in names]
        by_name = {stem_of(image): image for image in images} | {normalized(image.name): image for image in images}
        files, values, unknown = [], [], []
        for line, row in rows:
            if len(row) != len(head) + 1:
                raise DataError(f"{file}: line {line} has {len(row) - 1} values for {len(head)} columns")
            image = by_name.get(normalized(row[0]))
            if image is None:
                unknown.append(row[0])
                continue
            files.append(image)
            values.append([_value(row[column], file, line, head[column - 1]) for column in columns])
    except (OSError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a table ({error})") from error
    if unknown:
        raise DataError(f"{file}: {len(unknown)} rows are of images that do not exist: {_listed(unknown)}; remove them")
    counts = Counter(files)
    if repeated := [image.name for image, count in counts.items() if count > 1]:
        raise DataError(f"{file}: {len(repeated)} images have several rows: {_listed(repeated)}; remove all but one")
    if missing := [image.name for image in images if image not in counts]:
        raise DataError(
            f"{file}: {len(missing)} images have no row: {_listed(missing)}; add the rows, or remove the images"
        )
    return Attributes(file, names, tuple(files), np.array(values, np.int64))


def _value(text: str, file: Path, line: int, name: str) -> int:
    """Return the value of a cell, 0 or 1. Raises DataError for any other text."""
    value = VALUES.get(text.strip().lower())
    if value is None:
        raise DataError(f"{file}: line {line}: {name} is {shown(text)}; expected 1 or -1, 1 or 0, true or false")
    return value


def _group_column(root: Path, file: Path, config: DataConfig) -> str:
    """Return the column of the table `file` that `group_by` names; empty if it names none."""
    table, column = table_column(root, config.group_by)
    return column if table == file else ""


def _split_indices(root: Path, table: Attributes, config: DataConfig) -> tuple[dict[str, np.ndarray], FileSplits, str]:
    """Return the rows of each split, what defines the splits, and a note on them."""
    rows = np.arange(len(table.files))
    if config.partition == "auto":
        splits = splits_of_files(root, {"": [(file,) for file in table.files]}, config)
        if splits.split_of:
            in_split = {name: [splits.split_of[file] == name for file in table.files] for name in SPLITS}
            return {name: rows[chosen] for name, chosen in in_split.items()}, splits, splits.note
        held_out = np.array([is_held_out(file) for file in table.files])
        note = f"no partition: {held_out.sum()} images are held out, chosen by name"
        return {"train": rows[~held_out], "val": rows[held_out]}, splits, note
    indices = _published_indices(table, config.partition)
    files = {name: [table.files[row] for row in chosen] for name, chosen in indices.items()}
    check_given_splits(root, files, config, f"partition={config.partition}")
    return indices, FileSplits(), ""


def _published_indices(table: Attributes, partition: str) -> dict[str, np.ndarray]:
    """Return the rows of the training and test images of a published split of CelebA."""
    if partition == "celeba-stargan":
        count = len(table.files)
        if count <= PUBLISHED_TEST:
            raise DataError(
                f"{table.file}: partition=celeba-stargan has {PUBLISHED_TEST} test images, the table has {count}"
            )
        shuffled = list(range(count))
        random.Random(1234).shuffle(shuffled)
        return {"train": np.array(shuffled[PUBLISHED_TEST:]), "test": np.array(shuffled[:PUBLISHED_TEST])}
    if len(table.names) != 1:
        raise DataError("partition=celeba-dong is for two classes: choose one attribute, such as attributes=[Male]")
    classes = [np.flatnonzero(table.values[:, 0] == value) for value in (0, 1)]
    counts = [int(TRAIN_FRACTION * len(indices)) for indices in classes]
    train = [indices[:count] for indices, count in zip(classes, counts, strict=True)]
    test = [indices[count:] for indices, count in zip(classes, counts, strict=True)]
    return {"train": np.sort(np.concatenate(train)), "test": np.sort(np.concatenate(test))}


def _notes_on_overlaps(table: Attributes, groups: Sequence[Sequence[str]]) -> list[str]:
    """Return notes on images with several attributes of an exclusive group."""
    notes = []
    for group in groups:
        count = (table.values[:, [table.names.index(name) for name in group]].sum(1) > 1).sum()
        if count:
            notes.append(
                f"{count} images have more than one of {', '.join(group)}, which exclusive= says exclude each other"
            )
    return notes


def _split(table: Attributes, rows: np.ndarray) -> Split:
    files = tuple(table.files[row] for row in rows)
    return Split({"image": ImageFiles(files), "label": table.values[rows]}, aligned=True)


def _images(root: Path) -> tuple[Path, ...]:
    """Return the images in the folder itself, or else in the only folder of images inside it."""
    if images := images_in(root):
        return images
    folders = folders_of_images(root)
    if len(folders) != 1:
        count = f"{len(folders)} folders of images" if folders else "none"
        raise DataError(f"{root}: the images of a table are beside it or in one folder; there are {count}")
    return images_in(folders[0])


def _image_names(root: Path) -> list[str]:
    """Return the names of all images in the folder and in the folders inside it."""
    folders = [root, *folders_of_images(root)]
    return [file.name for folder in folders for file in images_in(folder)]


def _listed(names: Sequence[str]) -> str:
    """Return the first five names for a message."""
    return listed([printable(name) for name in names], 5) or "none"
