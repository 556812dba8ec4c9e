"""The value range of each domain of volumes: given in physical units, as a window, or that of the training volumes."""

from dataclasses import replace

from diptych.data.config import DataConfig, Range, ranges_of
from diptych.data.dataset import Column, Data, Split
from diptych.data.images.encoding import Encoding
from diptych.data.volumes.slices import VolumeSlices
from diptych.errors import DataError

DTYPE = "float32"  # of slices


def has_volumes(data: Data) -> bool:
    """Return whether the images are slices of volumes."""
    return any(isinstance(column, VolumeSlices) for column in data.train.columns.values())


def resolve_volume_ranges(config: DataConfig, data: Data) -> DataConfig:
    """Return `config` with numbers for `range=auto` and `window`. Raises DataError if there is no range."""
    if config.window:
        center, width = config.window
        return config.model_copy(update={"range": (center - width / 2, center + width / 2), "window": None})
    columns = [column for column in data.train.columns.values() if isinstance(column, VolumeSlices)]
    names = list(data.train.columns)
    pairs = zip(names, columns, ranges_of(config.range), strict=True)
    source, target = (_resolve(name, column, value) for name, column, value in pairs)
    return config.model_copy(update={"range": source if source == target else (source, target)})


def _resolve(name: str, column: VolumeSlices, value: Range) -> tuple[float, float]:
    """Return the range of one domain as numbers."""
    if value == "full":
        raise DataError(
            f"range=full: the values of volumes ({name}) have no full range: give range=[LOW,HIGH] in their units, "
            f"such as [-1000,2000] for CT, window=[CENTER,WIDTH], or range=auto; [[LOW,HIGH],auto] for both"
        )
    if value != "auto":
        return value
    limits = list(column.limits())
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    if low == high:
        raise DataError(f"range=auto: all training volumes of {name} hold the value {low:g} alone")
    return low, high


def encode_volumes(config: DataConfig, data: Data) -> Data:
    """Return `data` with the encoding of each column, by resolved settings. Raises DataError if there is no range."""
    resolved = ranges_of(resolve_volume_ranges(config, data).range)
    encodings = {}
    for name, value in zip(data.train.columns, resolved, strict=True):
        assert not isinstance(value, str)
        encodings[name] = Encoding((float(value[0]), float(value[1])), DTYPE)

    def encoded(split: Split) -> Split:
        columns: dict[str, Column] = {
            name: replace(column, encoding=encodings[name]) if isinstance(column, VolumeSlices) else column
            for name, column in split.columns.items()
        }
        return replace(split, columns=columns)

    test = encoded(data.test) if data.test else None
    return replace(data, train=encoded(data.train), held_out=encoded(data.held_out), test=test)
