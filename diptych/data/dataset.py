"""The opened data set: splits of columns of images and labels."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diptych.data.image_columns import ImageColumn, ImageFiles
from diptych.data.sources.file_names import stem_of
from diptych.errors import DataError

if TYPE_CHECKING:  # processes that inspect images do not import torch
    from diptych.contract import Labels

Column = Sequence[np.ndarray] | Sequence[int] | np.ndarray  # images (H, W, C), decoded on access; or labels
FINGERPRINTED = 64  # images of a column that is computed on access whose pixels are hashed


@dataclass(frozen=True)
class Split:
    """Columns of images and labels, by name. If `aligned`, index i shows the same scene in each column.

    Columns of one of the `groups` are sampled together, and each group independently of the others.
    `same_class_columns` are filled with a different image of the class that their group has sampled.
    `scene_ids` has an id for each image: images of two classes with the same id show the same scene.
    `labels` describes the column of labels.
    """

    columns: Mapping[str, Column]
    aligned: bool
    groups: tuple[tuple[str, ...], ...] = ()
    same_class_columns: tuple[str, ...] = ()
    scene_ids: Sequence[str] = field(default=(), compare=False, repr=False)
    labels: "Labels | None" = None

    @property
    def sample_groups(self) -> tuple[tuple[str, ...], ...]:
        """The names of the columns, in groups that are sampled together."""
        if self.groups:
            return self.groups
        return (tuple(self.columns),) if self.aligned else tuple((name,) for name in self.columns)

    @cached_property
    def class_indices(self) -> tuple[np.ndarray, ...]:
        """The indices of the images of each class; empty if there are no class numbers."""
        for column in self.columns.values():
            if not isinstance(column, ImageFiles) and np.ndim(column) == 1:
                labels = np.asarray(column)
                return tuple(np.flatnonzero(labels == number) for number in range(max(column) + 1))
        return ()

    @cached_property
    def balanced_groups(self) -> tuple[np.ndarray, ...]:
        """The groups to sample equally often, as indices: each class, or the images without and with one attribute.

        Empty for several attributes, which cannot all be balanced.
        """
        for column in self.columns.values():
            if not isinstance(column, ImageFiles) and np.ndim(column) == 2 and np.shape(column)[1] == 1:
                values = np.asarray(column)[:, 0]
                groups = (np.flatnonzero(values == value) for value in (0, 1))
                return tuple(indices for indices in groups if len(indices))
        return self.class_indices

    @cached_property
    def scene_index(self) -> Mapping[tuple[str, int], int]:
        """The index of the image of each scene in each class, by (scene id, class number)."""
        if not self.scene_ids:
            return {}
        return {
            (self.scene_ids[index], number): index
            for number, indices in enumerate(self.class_indices)
            for index in indices.tolist()
        }

    def rename_columns(self, names: Sequence[str]) -> "Split":
        """Return the same columns with other names, in order."""
        new_names = dict(zip(self.columns, names, strict=True))
        return replace(
            self,
            columns={new_names[name]: column for name, column in self.columns.items()},
            groups=tuple(tuple(new_names[name] for name in group) for group in self.groups),
            same_class_columns=tuple(new_names[name] for name in self.same_class_columns),
        )

    def swapped(self) -> "Split":
        """Return a split whose two columns have each other's names: the other direction."""
        return replace(self, columns=dict(zip(self.columns, reversed(list(self.columns.values())), strict=True)))

    def __len__(self) -> int:
        """Return the number of samples in an epoch: the length of the longest column."""
        return max(len(column) for column in self.columns.values())


def files_of(split: Split) -> tuple[Path, ...]:
    """Return the image files of a split, without repetition."""
    columns = [column for column in split.columns.values() if isinstance(column, ImageFiles)]
    return tuple(dict.fromkeys(file for column in columns for file in column.files))


def fingerprint_of(splits: Iterable[Split]) -> str:
    """Return a hash of the columns that are not files: arrays whole, and some of the images computed on access.

    Empty if no such column has images: labels of files follow from their names.
    """
    all_columns = [column for split in splits for column in split.columns.values() if len(column)]
    columns = [column for column in all_columns if not isinstance(column, ImageFiles)]
    if not any(np.ndim(column[0]) == 3 for column in columns):
        return ""
    digest = hashlib.sha256()
    for column in columns:
        if isinstance(column, np.ndarray) or np.ndim(column[0]) < 3:
            parts = [np.asarray(column)]
        else:
            chosen = np.linspace(0, len(column) - 1, min(FINGERPRINTED, len(column))).round().astype(int).tolist()
            parts = [np.asarray(column[index]) for index in chosen]
        for part in parts:
            digest.update(f"{len(column)} {part.dtype} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Data:
    """An opened data set: its splits, a summary and notes for the user, and the labels.

    `held_out` is the validation split, or else the test split; `test` is set where both exist.
    """

    train: Split
    held_out: Split
    summary: str  # one line: number and kind of images, and their folder
    notes: tuple[str, ...] = ()
    test: Split | None = None
    labels: "tuple[Labels, ...]" = ()  # of this set, then of `others`
    others: tuple["Data", ...] = ()  # further sets with labels of their own, which take turns in training
    by_name: bool = False  # whether a hash of the file name chose the held-out images, as the data has no splits
    fingerprint: str = ""  # hash of data that is not in files; by default that of `fingerprint_of`
    domains: Mapping[str, str] = field(default_factory=dict)  # by column, where it is not the name of the folder
    group_of: Mapping[Path, str] = field(default_factory=dict, repr=False)  # group of each file, if `split=` is given

    def rename_columns(self, names: Sequence[str]) -> "Data":
        """Return the same data with other names of columns, in order."""
        new_names = dict(zip(self.train.columns, names, strict=True))
        return replace(
            self,
            train=self.train.rename_columns(names),
            held_out=self.held_out.rename_columns(names),
            test=self.test and self.test.rename_columns(names),
            others=tuple(data.rename_columns(names) for data in self.others),
            domains={new_names[name]: domain for name, domain in self.domains.items()},
        )

    @property
    def all_images(self) -> Split:
        """All images of a data set without splits, training and held out."""
        held_out = set(files_of(self.held_out))
        if held_out and held_out <= set(files_of(self.train)):  # too few images to hold any out
            return self.held_out
        combined = concat(self.train, self.held_out)
        if self.held_out.aligned == self.train.aligned:
            return combined
        files = {column.files for column in combined.columns.values() if isinstance(column, ImageFiles)}
        is_side_by_side = len(files) == 1
        return replace(combined, aligned=True) if is_side_by_side else pair_by_name(combined)

    def with_matched_names(self) -> "Data":
        """Return the data with held-out images paired by file name, which makes the ground truth known.

        Images without a partner are dropped. Raises DataError if no held-out file has a partner.
        """
        if self.held_out.aligned:
            return self
        held_out, test = pair_by_name(self.held_out), self.test and pair_by_name(self.test)
        count = max(len(column) for column in self.held_out.columns.values())
        note = f"the ground truth is known for {len(held_out)} of {count} held-out files, by their names"
        return replace(self, held_out=held_out, test=test, notes=(*self.notes, note))


def select(column: Column, indices: Sequence[int]) -> Column:
    """Return the images or labels at the given indices."""
    if isinstance(column, ImageFiles):
        entries = tuple(column.entries[index] for index in indices) if column.entries else ()
        return replace(column, files=tuple(column.files[index] for index in indices), entries=entries)
    if isinstance(column, ImageColumn):
        return column.take(indices)
    if isinstance(column, np.ndarray):
        return column[list(indices)]
    return [column[index] for index in indices]  # type: ignore[return-value]


def concat(first: Split, second: Split) -> Split:
    """Return the samples of two splits of the same columns, one after the other.

    A group whose files in `second` are all in `first` is taken once.
    """
    columns: dict[str, Column] = {}
    for group in first.sample_groups:
        first_files, second_files = set(files_of(_columns(first, group))), set(files_of(_columns(second, group)))
        for name in group:
            column, more = first.columns[name], second.columns[name]
            if second_files and second_files <= first_files:
                columns[name] = column
            elif isinstance(column, ImageFiles) and isinstance(more, ImageFiles):
                entries = column.entries + more.entries
                columns[name] = replace(column, files=column.files + more.files, entries=entries)
            elif isinstance(column, ImageColumn) and isinstance(more, ImageColumn):
                columns[name] = column.concat(more)
            else:
                columns[name] = np.concatenate([np.asarray(column), np.asarray(more)])
    return replace(first, columns=columns, scene_ids=[*first.scene_ids, *second.scene_ids])


def _columns(split: Split, names: Sequence[str]) -> Split:
    return replace(split, columns={name: split.columns[name] for name in names})


def pair_by_name(split: Split) -> Split:
    """Return the files whose name is in each group of columns, as aligned pairs. Raises DataError if there are none."""
    indices_of: dict[str, dict[str, int]] = {}  # by column, then by name before the suffix
    for group in split.sample_groups:
        files = next((column.files for name in group if isinstance(column := split.columns[name], ImageFiles)), ())
        indices: dict[str, int] = {}
        for index, file in enumerate(files):
            if indices.setdefault(stem_of(file), index) != index:
                raise DataError(
                    f"{file}: another image of this domain has the same name, and matched_names=true needs names that "
                    f"occur once; rename or remove one"
                )
        indices_of |= dict.fromkeys(group, indices)
    first, *others = indices_of.values()
    common = [stem for stem in first if all(stem in indices for indices in others)]
    if not common:
        raise DataError("matched_names=true: no held-out file of one domain has the name of a file of the other")
    columns = {
        name: select(column, [indices_of[name][stem] for stem in common]) for name, column in split.columns.items()
    }
    return replace(split, columns=columns, aligned=True, groups=())


def keep_files(split: Split, files: Collection[Path]) -> Split:
    """Return the image columns of a split, restricted to `files`."""
    return replace(
        split,
        columns={
            name: replace(column, files=tuple(file for file in column.files if file in files))
            for name, column in split.columns.items()
            if isinstance(column, ImageFiles)
        },
    )
