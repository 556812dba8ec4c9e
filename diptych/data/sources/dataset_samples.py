"""Samples of a dataset given from Python, read field by field: images as arrays (H, W, C), labels as integers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from diptych.data.image_columns import ImageColumn
from diptych.data.images import image_io
from diptych.errors import ConfigError, DataError, ImageError, listed, shown

PROBED = 64  # images whose channels are counted
CHANNELS = (1, 2, 3, 4)
FALLBACK = ("image", "label")  # names of fields where a sample has none of the method's names


class Samples:
    """A map-style dataset. The last sample read is kept: the fields of a pair are read one after the other."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.last: tuple[int, Any] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __str__(self) -> str:
        cls = type(self.dataset)
        return f"{cls.__module__}.{cls.__qualname__}"

    def __getitem__(self, index: int) -> Any:
        if self.last is None or self.last[0] != index:
            try:
                self.last = index, self.dataset[index]
            except Exception as error:
                raise DataError(f"{self}[{index}]: {type(error).__name__}: {error}") from error
        return self.last[1]


@dataclass(frozen=True)
class Reader:
    """Reads fields of the samples of one dataset: `fields` are keys of dicts, or the order in tuples."""

    samples: Samples
    fields: tuple[str | int, ...]
    explicit: bool = False  # whether the user named the fields

    def __str__(self) -> str:
        return str(self.samples)

    def value(self, index: int, position: int) -> Any:
        """Return field number `position` of a sample. Raises DataError that names index and field."""
        sample, name = self.samples[index], self.fields[position]
        if isinstance(sample, Mapping):
            if name in sample:
                return sample[name]
            if not self.explicit and len(self.fields) <= len(FALLBACK) and FALLBACK[position] in sample:
                return sample[FALLBACK[position]]
            keys = listed([shown(key) for key in sample], 12)
            raise DataError(
                f"{self}[{index}]: a sample has no field {name!r}; it has {keys}: name the fields in order by "
                f"columns=[...]"
            )
        if self.explicit and isinstance(name, str):
            raise ConfigError(
                f"columns: {name!r} names a field, but samples of {self} are of type {type(sample).__name__}, without "
                f"names: "
                + ("give numbers, as columns=[0, 1]" if isinstance(sample, tuple | list) else "leave columns= out")
            )
        if isinstance(sample, tuple | list):
            at = name if isinstance(name, int) else position
            if at >= len(sample):
                raise DataError(f"{self}[{index}]: expected {at + 1} fields or more, got {len(sample)}")
            return sample[at]
        if len(self.fields) == 1:
            return sample
        raise DataError(
            f"{self}[{index}]: expected a tuple or dict of {' and '.join(map(str, self.fields))}, "
            f"got {type(sample).__name__}"
        )

    def name(self, index: int, position: int) -> str:
        """Return what errors call a field of a sample."""
        return f"{self}[{index}] field {self.fields[position]!r}"

    def images(self, position: int) -> "DatasetImages":
        """Return a field as a column of images. Raises DataError for an empty dataset."""
        if not len(self.samples):
            raise DataError(f"{self}: the dataset is empty")
        return DatasetImages(self, position, np.arange(len(self.samples)))

    def labels(self) -> np.ndarray:
        """Return the labels of all samples: class numbers (N,) or attributes (N, K) of 0 and 1, int64. DataError.

        Taken from the attribute `targets` or from a column of a Hugging Face dataset, else by reading each sample.
        """
        dataset, name = self.samples.dataset, self.fields[1]
        values = getattr(dataset, "targets", None) if not self.explicit else None
        if values is None and (column := _column_of(dataset, (name, *(() if self.explicit else FALLBACK[1:])))):
            values = dataset[column]
        if values is None or len(values) != len(dataset):
            values = [self.value(index, 1) for index in range(len(dataset))]
        labels = [self._label(value, index) for index, value in enumerate(values)]
        if len({label.shape for label in labels}) > 1:
            raise DataError(
                f"{self}: labels have different shapes: {', '.join(sorted({str(e.shape) for e in labels}))}"
            )
        stacked = np.stack(labels) if labels else np.zeros(0, np.int64)
        is_vector = stacked.ndim == 2 and bool(np.isin(stacked, (0, 1)).all())
        is_number = stacked.ndim < 2 and (not stacked.size or stacked.min() >= 0)
        if not is_vector and not is_number:
            raise DataError(
                f"{self}: expected labels that are class numbers from 0, or vectors of 0 and 1 (attributes)"
            )
        return stacked

    def _label(self, value: Any, index: int) -> np.ndarray:
        array = np.asarray(value)
        if array.dtype.kind not in "iub" and not (array.dtype.kind == "f" and (array == array.round()).all()):
            raise DataError(
                f"{self.name(index, 1)}: expected a class number or a vector of 0 and 1, got {shown(value)}"
            )
        return array.astype(np.int64)

    def class_names(self) -> tuple[str, ...]:
        """Return the names that the dataset gives its labels: `classes`, or those of a Hugging Face feature."""
        dataset = self.samples.dataset
        while dataset is not None:
            features = getattr(dataset, "features", None)
            names = (self.fields[1], *FALLBACK[1:])
            feature = next((features[name] for name in names if name in features), None) if features else None
            classes = getattr(feature, "names", None) or getattr(dataset, "classes", None)
            if classes:
                return tuple(map(str, classes))
            dataset = getattr(dataset, "dataset", None)  # of a `torch.utils.data.Subset`
        return ()

    def update(self, digest: Any, index: int) -> None:
        """Add the pixels and labels of a sample to a hash."""
        for position in range(len(self.fields)):
            value = self.value(index, position)
            array = np.asarray(value) if position and _is_label(value) else _pixels(value, self.name(index, position))
            digest.update(f"{position} {array.shape} {array.dtype}".encode() + np.ascontiguousarray(array).tobytes())


@dataclass(frozen=True, eq=False)
class DatasetImages(ImageColumn):
    """One field of a dataset as a column of images, each (H, W, C) uint8, uint16 or float32 within 0..1."""

    reader: Reader
    position: int
    rows: np.ndarray = field(repr=False)  # indices into the dataset

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        row = int(self.rows[index])
        return _pixels(self.reader.value(row, self.position), self.reader.name(row, self.position))

    def name(self, index: int) -> str:
        return self.reader.name(int(self.rows[index]), self.position)

    def take(self, indices: Sequence[int] | np.ndarray) -> "DatasetImages":
        return DatasetImages(self.reader, self.position, self.rows[np.asarray(indices, int)])

    def channels(self) -> int:
        """Return the channels of up to 64 images, evenly spaced: 3 if grey and RGB mix. DataError for other mixes."""
        first: dict[int, str] = {}
        for index in np.linspace(0, len(self) - 1, min(PROBED, len(self))).round().astype(int).tolist():
            first.setdefault(self[index].shape[2], self.name(index))
        if len(first) > 1 and set(first) != {1, 3}:
            counts = ", ".join(f"{count} in {name}" for count, name in sorted(first.items()))
            raise DataError(f"the images of one field have different channel counts: {counts}")
        return max(first)


def _column_of(dataset: Any, names: Sequence[str | int]) -> str:
    """Return the first of the names that is a column of a Hugging Face dataset, else nothing."""
    columns = getattr(dataset, "column_names", None)
    return next((str(name) for name in names if name in columns), "") if isinstance(columns, list) else ""


def _is_label(value: Any) -> bool:
    return not isinstance(value, Image.Image) and np.ndim(value) < 2


def _pixels(value: Any, name: str) -> np.ndarray:
    """Return an image (H, W, C) from a PIL image, tensor or array. Raises ImageError.

    Tensors are (C, H, W) unless only the last dimension has 1 to 4 values; arrays are (H, W, C) unless only the first
    has. Floats must lie within 0..1.
    """
    if isinstance(value, Image.Image):
        return image_io.from_pil(value, name)
    is_tensor = hasattr(value, "detach")
    array = value.detach().cpu().numpy() if is_tensor else value
    if not isinstance(array, np.ndarray):
        raise ImageError(f"{name}: expected a PIL image, tensor or array, got {type(value).__name__}")
    if array.ndim == 3:
        first, last = array.shape[0] in CHANNELS, array.shape[2] in CHANNELS
        if (first and (is_tensor or not last)) or (is_tensor and not last):
            array = array.transpose(1, 2, 0)
    if array.dtype.kind == "f" and array.size and float(array.min()) < 0:
        raise ImageError(
            f"{name}: values from {float(array.min()):.3g} to {float(array.max()):.3g}: expected floats within 0..1; "
            f"leave out a normalisation to [-1, 1]"
        )
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    return image_io.as_pixels(np.ascontiguousarray(array), name)
