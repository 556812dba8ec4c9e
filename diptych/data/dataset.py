"""What a data set is once it is opened: columns of images, decoded when asked for, and of labels."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diptych.data.checks.manifest import Entry, check_unchanged
from diptych.data.images import image_io
from diptych.data.images.encoding import PLAIN, Encoding
from diptych.data.sources.file_names import stem_of
from diptych.errors import DataError

if TYPE_CHECKING:  # processes that examine images bring no torch
    from diptych.contract import Labels

Column = Sequence[np.ndarray] | Sequence[int] | np.ndarray  # images (H, W, C), decoded when asked for; or labels


class ImageColumn(Sequence[np.ndarray]):
    """A column of images (H, W, C) that are not files, read when they are needed."""

    ndim = 4  # for NumPy: asking for it must read nothing

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Length, and height, width and channels of the first image; channels of all as `channels` counts them."""
        height, width, _ = self[0].shape
        return len(self), height, width, self.channels()

    def channels(self) -> int:
        """Return the channels of the images."""
        raise NotImplementedError

    def take(self, indices: Sequence[int]) -> "ImageColumn":
        """Return the column of the images at these indices."""
        raise NotImplementedError


@dataclass(frozen=True)
class ImageFiles(Sequence[np.ndarray]):
    """The decoded images of one side, each (H, W, C); `half` 0 or 1 cuts the left or right half out of each file.

    With `entries`, one for each file, a file that changed since it was examined is a DataError. `encoding` says what
    the values in the files mean.
    """

    files: tuple[Path, ...]
    half: int | None = None
    entries: tuple[Entry, ...] = field(default=(), compare=False, repr=False)
    encoding: Encoding = PLAIN

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        file, kind = self.files[index], self.encoding.kind
        if self.entries:
            check_unchanged(file, self.entries[index])
        array = image_io.read(file, kind) if self.half is None else _last_read(file, kind)
        if self.half is not None:
            middle = array.shape[1] // 2
            array = array[:, :middle] if self.half == 0 else array[:, -middle:]
        return self.encoding.decode(array, file)

    def name(self, index: int) -> str:
        return str(self.files[index])

    def channels(self) -> int:
        """Of the first thousand files, by their headers: 3 if grey and colour mix. DataError for other mixes.

        Of an encoding with classes or alpha, those that it makes.
        """
        if self.encoding.channels:
            return self.encoding.channels
        first = {image_io.probe(file).channels: file for file in reversed(self.files[:1000])}
        if len(first) > 1 and set(first) != {1, 3}:
            found = ", ".join(f"{count} in {file}" for count, file in sorted(first.items()))
            raise DataError(f"the images of one side have different channel counts: {found}")
        return max(first)


_last_read = lru_cache(maxsize=1)(image_io.read)  # the two halves of a file are asked for one after the other


@dataclass(frozen=True)
class Split:
    """Columns by name, images or labels. Aligned: the same index in each column is the same scene.

    Columns of one of the `groups` are drawn together, those of different groups each by itself. `same_class_columns` are columns
    whose image is another one of the class that their group drew. `scene_ids`: equal ones of two classes are one scene.
    `labels` says what the column of labels means.
    """

    columns: Mapping[str, Column]
    aligned: bool
    groups: tuple[tuple[str, ...], ...] = ()
    same_class_columns: tuple[str, ...] = ()
    scene_ids: Sequence[str] = field(default=(), compare=False, repr=False)
    labels: "Labels | None" = None

    @property
    def sample_groups(self) -> tuple[tuple[str, ...], ...]:
        """The names of columns, in groups that are drawn together."""
        if self.groups:
            return self.groups
        return (tuple(self.columns),) if self.aligned else tuple((name,) for name in self.columns)

    @cached_property
    def class_indices(self) -> tuple[np.ndarray, ...]:
        """Of each class the places of its images; none if there are no class numbers."""
        for column in self.columns.values():
            if not isinstance(column, ImageFiles) and np.ndim(column) == 1:
                return tuple(np.flatnonzero(np.asarray(column) == number) for number in range(max(column) + 1))
        return ()

    @cached_property
    def balanced_groups(self) -> tuple[np.ndarray, ...]:
        """What is to be seen equally often, as places: each class; of one attribute the images without it and with it.

        None of several attributes, which cannot all be.
        """
        for column in self.columns.values():
            if not isinstance(column, ImageFiles) and np.ndim(column) == 2 and np.shape(column)[1] == 1:
                found = (np.flatnonzero(np.asarray(column)[:, 0] == value) for value in (0, 1))
                return tuple(places for places in found if len(places))
        return self.class_indices

    @cached_property
    def twins(self) -> Mapping[tuple[str, int], int]:
        """Where each motif is drawn in each class, by motif and class number."""
        return {
            (self.scene_ids[place], number): place
            for number, places in enumerate(self.class_indices if self.scene_ids else ())
            for place in places.tolist()
        }

    def named(self, names: Sequence[str]) -> "Split":
        """The same columns under other names, in order."""
        other = dict(zip(self.columns, names, strict=True))
        return replace(
            self,
            columns={other[name]: column for name, column in self.columns.items()},
            groups=tuple(tuple(other[name] for name in group) for group in self.groups),
            same_class_columns=tuple(other[name] for name in self.same_class_columns),
        )

    def swapped(self) -> "Split":
        """The first and second column change places under the same names: the other direction."""
        return replace(self, columns=dict(zip(self.columns, reversed(list(self.columns.values())), strict=True)))

    def __len__(self) -> int:
        """Samples in an epoch: the longest column."""
        return max(len(column) for column in self.columns.values())


def files_of(split: Split) -> tuple[Path, ...]:
    """The files behind its pictures, each once."""
    columns = [column for column in split.columns.values() if isinstance(column, ImageFiles)]
    return tuple(dict.fromkeys(file for column in columns for file in column.files))


@dataclass(frozen=True)
class Data:
    train: Split
    held_out: Split
    summary: str  # one line for a person: what was found where
    notes: tuple[str, ...] = ()
    test: Split | None = None  # where validation and test are both there
    labels: "tuple[Labels, ...]" = ()  # what they say, of this set and the others
    others: tuple["Data", ...] = ()  # further sets, each with labels of its own, taken in turns
    by_name: bool = False  # whether nothing divides the set, so names chose what is held out
    fingerprint: str = ""  # hash of a few samples, of data that is not in files
    domains: Mapping[str, str] = field(default_factory=dict)  # by column, where the folder of its files does not say it

    def named(self, names: Sequence[str]) -> "Data":
        """The same data with its columns under these names, in order."""
        other = dict(zip(self.train.columns, names, strict=True))
        return replace(
            self,
            train=self.train.named(names),
            held_out=self.held_out.named(names),
            test=self.test and self.test.named(names),
            others=tuple(each.named(names) for each in self.others),
            domains={other[name]: domain for name, domain in self.domains.items()},
        )

    @property
    def all_images(self) -> Split:
        """All images, of a set that nothing divides."""
        if set(files_of(self.held_out)) <= set(files_of(self.train)):  # there were too few to hold any out
            return self.held_out
        whole = concat(self.train, self.held_out)
        if self.held_out.aligned == self.train.aligned:
            return whole
        pictures = {column.files for column in whole.columns.values() if isinstance(column, ImageFiles)}
        return replace(whole, aligned=True) if len(pictures) == 1 else matched_by_name(whole)  # side by side; or twins

    def with_matched_names(self) -> "Data":
        """Held-out files of one name are one scene: those of all heaps are kept, as pairs. DataError without any."""
        if self.held_out.aligned:
            return self
        held_out, test = matched_by_name(self.held_out), self.test and matched_by_name(self.test)
        kept = max(len(each) for each in self.held_out.columns.values())
        note = f"truth is known of {len(held_out)} of {kept} held-out files, by their names"
        return replace(self, held_out=held_out, test=test, notes=(*self.notes, note))


def select(column: Column, places: Sequence[int]) -> Column:
    """The images or labels at those places."""
    if isinstance(column, ImageFiles):
        entries = tuple(column.entries[place] for place in places) if column.entries else ()
        return replace(column, files=tuple(column.files[place] for place in places), entries=entries)
    if isinstance(column, ImageColumn):
        return column.take(places)
    return column[list(places)] if isinstance(column, np.ndarray) else [column[place] for place in places]  # type: ignore[return-value]


def concat(one: Split, other: Split) -> Split:
    """The samples of two splits of the same columns, one behind the other; a heap that is in both is taken once."""
    columns: dict[str, Column] = {}
    for group in one.sample_groups:
        files = [set(files_of(_part(each, group))) for each in (one, other)]
        for name in group:
            column, more = one.columns[name], other.columns[name]
            if files[1] and files[1] <= files[0]:
                columns[name] = column
            elif isinstance(column, ImageFiles) and isinstance(more, ImageFiles):
                entries = column.entries + more.entries
                columns[name] = replace(column, files=column.files + more.files, entries=entries)
            else:
                columns[name] = np.concatenate([np.asarray(column), np.asarray(more)])
    return replace(one, columns=columns, scene_ids=[*one.scene_ids, *other.scene_ids])


def _part(split: Split, names: Sequence[str]) -> Split:
    return replace(split, columns={name: split.columns[name] for name in names})


def matched_by_name(split: Split) -> Split:
    """The files whose name is in each group of columns, as scenes known in all of them. DataError if there are none."""
    places: dict[str, dict[str, int]] = {}
    for group in split.sample_groups:
        files = next((column.files for name in group if isinstance(column := split.columns[name], ImageFiles)), ())
        found: dict[str, int] = {}
        for place, file in enumerate(files):
            if found.setdefault(stem_of(file), place) != place:
                raise DataError(f"{file}: one set has two images of this name; with matched_names=true it is a scene")
        places |= dict.fromkeys(group, found)
    first, *others = places.values()
    both = [stem for stem in first if all(stem in each for each in others)]
    if not both:
        raise DataError("matched_names=true: no held-out file of one set has the name of one of the other")
    columns = {name: select(column, [places[name][stem] for stem in both]) for name, column in split.columns.items()}
    return replace(split, columns=columns, aligned=True, groups=())


def keep_files(split: Split, files: Collection[Path]) -> Split:
    """Of each column of pictures those files alone."""
    return replace(
        split,
        columns={
            name: replace(column, files=tuple(file for file in column.files if file in files))
            for name, column in split.columns.items()
            if isinstance(column, ImageFiles)
        },
    )
