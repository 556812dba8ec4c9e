"""Data from Python: map-style `torch.utils.data.Dataset`s, Hugging Face datasets, or any sequence of samples.

`DatasetSource` holds what the user gave; `open` turns it into columns as folders are. A sample is a tuple or a dict of
images, or one image; its fields are read when they are needed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from diptych.contract import DataKind, Labels
from diptych.data.config import DataConfig
from diptych.data.dataset import Column, Data, Split, select
from diptych.data.sources.classes import LABELLED, with_references
from diptych.data.sources.dataset_samples import Reader, Samples
from diptych.data.sources.folders import name_is_held_out
from diptych.data.sources.transfer import combine_for_transfer
from diptych.errors import ConfigError, DataError, nearest, shown

PREFIX = "dataset:"
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
FINGERPRINTED = 8  # samples of each dataset whose pixels are hashed
FEWEST = 2  # training images of a class
FILE_SETTINGS = (  # they describe files
    "layout", "folders", "extra_roots", "table", "attributes", "exclusive", "partition", "matched_names",
    "target_root", "background_root", "pair_names", "holdout_fraction", "split", "group_by",
    "on_bad_image",
)  # fmt: skip
COLUMNS: Mapping[DataKind, tuple[tuple[str, ...], ...]] = {  # of each dataset, in order
    DataKind.PAIRED: (("source", "target"),),
    DataKind.UNPAIRED: (("a",), ("b",)),
    DataKind.IMAGES: (("image",),),
    DataKind.LABELLED: (LABELLED,),
    DataKind.REFERENCED: (LABELLED,),
    DataKind.TRANSFER: (("source", "label"), ("target",)),
}


def is_dataset(root: str) -> bool:
    """Return whether a `root` setting stands for a dataset given from Python."""
    return root.startswith(PREFIX)


def is_map_style(value: object) -> bool:
    """Return whether an object can be indexed by integers and has a length."""
    return hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, str | bytes)


@dataclass(frozen=True)
class DatasetSource:
    """One dataset, or a tuple of two for methods that take two; each with its splits by name.

    `columns` names the fields of a sample in the order in which the method takes them; of two datasets, one each.
    `class_names` names the classes or attributes that labels number.
    """

    datasets: tuple[Mapping[str, Samples], ...]
    columns: tuple[str | int, ...] = ()
    class_names: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Any, columns: str | Sequence[str | int] = (), class_names: Sequence[str] = ()) -> "DatasetSource":
        """Return the source of what a user gave as `data=`: a dataset, a dict of splits, or a tuple of two of these.

        Raises ConfigError for an object that is no map-style dataset.
        """
        several = data if isinstance(data, tuple) and len(data) == 2 else (data,)
        if isinstance(class_names, str):
            raise ConfigError(f"class_names={class_names!r}: expected a list of names")
        columns = [columns] if isinstance(columns, str) else columns
        return cls(tuple(map(_splits_of, several)), tuple(columns), tuple(class_names))

    @property
    def root(self) -> str:
        """The value of the `root` setting: class and length of each dataset, as `dataset:package.Class[400]`."""
        return (PREFIX + ",".join("+".join(map(_describe, splits.values())) for splits in self.datasets))[:4096]

    def open(self, config: DataConfig, kind: DataKind, names: Sequence[str]) -> Data:
        """Return the data of the kind that a method declares, as columns called `names`. DataError, ConfigError."""
        defaults = type(config).model_fields
        if used := [name for name in FILE_SETTINGS if vars(config)[name] != defaults[name].default]:
            raise ConfigError(f"{used[0]}= is for files of images and has no effect on a dataset: leave it out")
        groups = COLUMNS[kind]
        if self.class_names and kind not in (DataKind.LABELLED, DataKind.REFERENCED, DataKind.TRANSFER):
            raise ConfigError(f"class_names= has no effect on {kind} data, which has no labels: leave it out")
        if kind == DataKind.UNPAIRED and len(self.datasets) == 1:
            groups = (("a", "b"),)  # pairs, whose images are sampled independently
        if len(self.datasets) != len(groups):
            expected = "a tuple of two datasets" if len(groups) == 2 else "one dataset"
            raise ConfigError(f"data: this method trains on {kind} data: expected {expected}, got {len(self.datasets)}")
        fields = self._fields(groups, names)
        parts = [
            {split: Reader(samples, field, bool(self.columns)) for split, samples in splits.items()}
            for splits, field in zip(self.datasets, fields, strict=True)
        ]
        if kind in (DataKind.LABELLED, DataKind.REFERENCED):
            data = self._labelled(parts[0], kind)
        elif kind == DataKind.TRANSFER:
            images = _images((("image",),), [parts[1]], aligned=True)
            data = combine_for_transfer(self._labelled(parts[0], kind), images, False)
        else:
            data = _images(groups, parts, aligned=kind != DataKind.UNPAIRED)
        if config.direction == "b2a":
            if kind not in (DataKind.PAIRED, DataKind.UNPAIRED):
                raise ConfigError("direction= has no effect on this kind of data: leave it out")
            data = _swapped(data)
        return _with_fingerprint(data.rename_columns(names), parts)

    def _fields(self, groups: Sequence[Sequence[str]], names: Sequence[str]) -> list[tuple[str | int, ...]]:
        """Return the fields of a sample of each dataset: those of `columns`, or the method's names of them."""
        count = sum(map(len, groups))
        if self.columns and len(self.columns) != count:
            raise ConfigError(f"columns={list(self.columns)}: expected {count} names, for {', '.join(names[:count])}")
        chosen = iter(self.columns or names[:count])
        return [tuple(next(chosen) for _ in group) for group in groups]

    def _labelled(self, readers: Mapping[str, Reader], kind: DataKind) -> Data:
        labels = {split: reader.labels() for split, reader in readers.items()}
        meaning = self._meaning(readers["train"], labels)
        splits = {split: _labelled_split(readers[split], labels[split], meaning) for split in readers}
        if "val" in splits or "test" in splits:
            train, held_out = splits["train"], splits.get("val", splits.get("test"))
        else:
            unseen = _held_out_of_classes(labels["train"])
            train, held_out = _rows(splits["train"], ~unseen), _rows(splits["train"], unseen)
        assert held_out is not None
        _check_classes(train, meaning, str(readers["train"]))
        test = splits.get("test") if "val" in splits else None
        if kind == DataKind.REFERENCED:
            train, held_out, test = with_references(train), with_references(held_out), test and with_references(test)
        summary = (
            f"{readers['train']}: {len(train)} images, {len(held_out)} held out, {len(meaning)} {meaning.kind} labels"
        )
        return Data(train, held_out, summary, test=test, labels=(meaning,))

    def _meaning(self, reader: Reader, labels: Mapping[str, np.ndarray]) -> Labels:
        """Return the names of the labels: those given, those of the dataset, or numbers."""
        train = labels["train"]
        kind = "class" if train.ndim == 1 else "attributes"
        needed = max(int(values.max()) + 1 if kind == "class" else values.shape[1] for values in labels.values())
        names = self.class_names or reader.class_names() or tuple(map(str, range(needed)))
        if len(names) < needed:
            raise DataError(f"{reader}: labels number {needed} classes, and there are {len(names)} names: {names}")
        try:
            return Labels.model_validate({"names": names, "kind": kind})
        except ValidationError as error:
            reasons = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
            raise DataError(f"{reader}: labels {shown(list(names))}: {reasons}") from error


def _splits_of(data: Any) -> Mapping[str, Samples]:
    """Return the datasets by split: train, val, test."""
    if isinstance(data, Mapping) and data and all(is_map_style(each) for each in data.values()):
        splits = {}
        for name, samples in data.items():
            if name not in SPLITS:
                raise ConfigError(
                    f"data: no split is called {name!r}{nearest(str(name), SPLITS)}; they are {', '.join(SPLITS)}"
                )
            splits[SPLITS[name]] = Samples(samples)
        if "train" not in splits:
            raise ConfigError(f"data: the splits {', '.join(splits)} have none to train on: add 'train'")
        return splits
    if not is_map_style(data):
        raise ConfigError(
            f"data: expected a folder, a map-style dataset (with __getitem__ and __len__), a dict of splits or a tuple "
            f"of two datasets, got {type(data).__name__}"
        )
    return {"train": Samples(data)}


def _describe(samples: Samples) -> str:
    return f"{samples}[{len(samples)}]"


def _images(groups: Sequence[Sequence[str]], parts: Sequence[Mapping[str, Reader]], aligned: bool) -> Data:
    """Return datasets without labels as columns; each part is one dataset, whose samples are pairs or images."""
    given = [name for name in ("train", "val", "test") if all(name in part for part in parts)]
    columns: dict[str, dict[str, Column]] = {"train": {}, "val": {}, "test": {}}
    for group, part in zip(groups, parts, strict=True):
        for name in given:
            for position, column in enumerate(group):
                columns[name][column] = part[name].images(position)
    pairs = len(groups) == 1  # the same index is the same scene, in held-out images too
    splits = {name: Split(columns[name], aligned=aligned if name == "train" else pairs) for name in given}
    text = "; ".join(str(part["train"]) for part in parts)
    domains = {
        column: f"{column} of {part['train']}" for group, part in zip(groups, parts, strict=True) for column in group
    }
    domains = domains if len(domains) == 2 else {}
    train, held_out = splits["train"], splits.get("val", splits.get("test"))
    if held_out is not None:
        test = splits.get("test") if "val" in splits else None
        return Data(train, held_out, f"{text}: {len(train)}, {len(held_out)} held out", test=test, domains=domains)
    lengths = [len(part["train"].samples) for part in parts]
    unseen = {column: _held_out(n) for group, n in zip(groups, lengths, strict=True) for column in group}
    kept = {column: select(train.columns[column], np.flatnonzero(~rows).tolist()) for column, rows in unseen.items()}
    shown = {column: select(train.columns[column], np.flatnonzero(rows).tolist()) for column, rows in unseen.items()}
    train, held_out = Split(kept, aligned=aligned), Split(shown, aligned=pairs)
    note = "no val split: every twentieth index or so is held out, chosen by a hash of the index"
    summary = f"{text}: {len(train)}, {len(held_out)} held out"
    return Data(train, held_out, summary, (note,), domains=domains)


def _held_out(length: int) -> np.ndarray:
    """Return which indices are held out: about one in twenty, by a hash of the index; one at least. DataError."""
    if length < 2:
        raise DataError(f"data: {length} samples are too few: one at least is held out")
    rows = np.array([name_is_held_out(str(index)) for index in range(length)])
    rows[-1] |= not rows.any()
    return rows


def _held_out_of_classes(labels: np.ndarray) -> np.ndarray:
    """Return which indices are held out, as `_held_out`; of each class one at least, if it has more than two."""
    rows = _held_out(len(labels))
    for number in np.unique(labels) if labels.ndim == 1 else ():
        members = np.flatnonzero(labels == number)
        if len(members) > FEWEST and not rows[members].any():
            rows[members[-1]] = True
    return rows


def _rows(split: Split, chosen: np.ndarray) -> Split:
    indices = np.flatnonzero(chosen).tolist()
    return replace(split, columns={name: select(column, indices) for name, column in split.columns.items()})


def _labelled_split(reader: Reader, labels: np.ndarray, meaning: Labels) -> Split:
    values: Column = labels.tolist() if labels.ndim == 1 else labels
    return Split(dict(zip(LABELLED, (reader.images(0), values), strict=True)), aligned=True, labels=meaning)


def _check_classes(train: Split, meaning: Labels, what: str) -> None:
    if meaning.kind != "class":
        return
    counts = np.bincount(np.asarray(train.columns[LABELLED[1]]), minlength=len(meaning))
    if few := [name for name, count in zip(meaning.names, counts, strict=True) if count < FEWEST]:
        raise DataError(f"{what}: {', '.join(few[:5])}: fewer than {FEWEST} training images of the class")


def _swapped(data: Data) -> Data:
    domains = dict(zip(data.domains, reversed(list(data.domains.values())), strict=True))
    test = data.test and data.test.swapped()
    return replace(data, train=data.train.swapped(), held_out=data.held_out.swapped(), test=test, domains=domains)


def _with_fingerprint(data: Data, parts: Sequence[Mapping[str, Reader]]) -> Data:
    """Return the data with a hash of a few samples of each dataset, by which a resume notices other contents."""
    digest, lengths = hashlib.sha256(), []
    for part in parts:
        for split, reader in part.items():
            length = len(reader.samples)
            lengths.append(f"{length} in {split}")
            for index in sorted({*np.linspace(0, length - 1, min(FINGERPRINTED, length)).round().astype(int).tolist()}):
                reader.update(digest, index)
    return replace(data, fingerprint=f"{', '.join(lengths)}; SHA-256 of some: {digest.hexdigest()[:16]}")
