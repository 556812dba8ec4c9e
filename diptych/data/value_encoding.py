"""The `Encoding` of each image column, by the settings `range`, `label_map` and `alpha` and by the images.

What depends on the images (the limits of `range=auto`, the number of classes, whether there is alpha) is determined
once, when training starts, and saved in the recipe: `range` as numbers, the others as channel counts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from diptych.data.config import DataConfig, Range, ranges_of
from diptych.data.dataset import Column, Data, Split
from diptych.data.image_columns import ImageColumn, ImageFiles
from diptych.data.images import image_io
from diptych.data.images.class_maps import count_classes
from diptych.data.images.encoding import Encoding
from diptych.data.images.stored_values import limits_of
from diptych.data.volumes.encode_volumes import encode_volumes, has_volumes, resolve_volume_ranges
from diptych.errors import DataError, ImageError

Fields = Mapping[str, str]  # the setting for the number of channels, by image column
LABEL_MAP_DOMAINS: Mapping[str, tuple[int, ...]] = {"none": (), "source": (0,), "target": (1,), "both": (0, 1)}
LABEL_MAP_ERROR = "label_map={}: {}; remove this setting"


def resolve_ranges(config: DataConfig, data: Data, fields: Fields) -> DataConfig:
    """Return `config` with numbers for `range=auto`: lowest and highest value of the training images of each domain.

    The full range of the dtype is `full`. Raises DataError for a range that is not supported by the files.
    """
    if has_volumes(data):
        return resolve_volume_ranges(config, data)
    names, maps = columns_by_domain(data, fields), _label_maps(config, data, fields)
    if config.range == "full":
        return config
    if len(names) == len(maps):
        raise DataError(f"range={config.range}: label maps of class ids have no range; remove this setting")
    if not isinstance(config.range, str) and not isinstance(config.range[0], int | float) and len(names) != 2:
        raise DataError(f"range={config.range}: expected one range, as this method has one domain")
    ranges = ranges_of(config.range)
    resolved = tuple(
        "full" if number in maps else _resolve(value, domain, data)
        for number, (value, domain) in enumerate(zip(ranges, names, strict=False))
    )
    return config.model_copy(update={"range": resolved if len(resolved) == 2 else resolved[0]})


def _resolve(value: Range, names: tuple[str, ...], data: Data) -> Range:
    """Return the range of one domain, whose columns have these names, as numbers or `full`."""
    if value == "full":
        return value
    dtype = _dtype_of(names, data)
    least, most = limits_of(np.dtype(dtype))
    if value != "auto":
        if not least <= value[0] < value[1] <= most:
            given = f"[{value[0]:g},{value[1]:g}]"
            raise DataError(f"range={given}: expected {least:g} to {most:g}, as the images of {names[0]} are {dtype}")
        return value
    columns = _image_columns(names, data, ("train",))
    limits = np.array([limits for column in columns for limits in _limits(column)])
    if not len(limits):
        raise DataError(f"range=auto: no training image of {names[0]} has pixels with data")
    low, high = float(limits[:, 0].min()), float(limits[:, 1].max())
    if _needs_range(names, data):
        if low == high:
            raise DataError(f"range=auto: all training images of {names[0]} hold the value {low:g} alone")
        return low, high
    white = 1 if dtype == "float32" else most
    return "full" if low == high or (low, high) == (0, white) else (low, high)


def _dtype_of(names: tuple[str, ...], data: Data) -> str:
    """Return the dtype of the stored values of a domain. Raises DataError if there are several."""
    examples: dict[str, str] = {}  # name of an image, by dtype
    for column in _image_columns(names, data):
        for index in range(len(column)):
            dtype = column.entries[index].info.stored_dtype if column.entries else None
            dtype = dtype or image_io.probe(column.files[index], "values").dtype
            examples.setdefault(dtype, column.name(index))
    if not examples:
        raise DataError("range, label_map and alpha are for image files only: remove these settings")
    if len(examples) > 1:
        dtypes = ", ".join(f"{dtype} ({name})" for dtype, name in examples.items())
        raise DataError(
            f"range: the images of {names[0]} have several dtypes: {dtypes}; convert them, or use range=full"
        )
    return next(iter(examples))


def _needs_range(names: tuple[str, ...], data: Data) -> str:
    """Return the first image of a domain that needs a value range, with the reason; empty if there is none."""
    for column in _image_columns(names, data):
        for index, entry in enumerate(column.entries):
            if entry.info.needs_range:
                return f"{column.name(index)}: {entry.info.needs_range}"
    return ""


def _limits(column: ImageFiles) -> Iterator[tuple[float, float]]:
    """Yield the lowest and highest value of each image; halves of files are read."""
    for index in range(len(column)):
        info = column.entries[index].info if column.entries else None
        if info and column.half is None and info.low is not None and info.high is not None:
            yield info.low, info.high
            continue
        array, valid = column.stored(index, "values"), column.valid(index)
        known = array if valid is None else array[valid]
        if known.size:
            yield float(known.min()), float(known.max())


def count_channels(name: str, config: DataConfig, data: Data, fields: Fields, given: int | None = None) -> int:
    """Return the number of network channels of an image column: the classes of a label map, or the channels of files.

    `given` channels are returned unchanged. Raises DataError or ImageError for a label map without class ids, or with
    more classes than `given` or 256.
    """
    domains, maps = columns_by_domain(data, fields), _label_maps(config, data, fields)
    number = next(number for number, names in enumerate(domains) if name in names)
    if number in maps:
        sharing = [names for names in domains if fields[names[0]] == fields[name]]
        if any(domains.index(names) not in maps for names in sharing):
            raise DataError(
                LABEL_MAP_ERROR.format(config.label_map, f"{fields[name]} is the number of channels of both domains")
            )
        classes = max(count_label_classes(names, data) for names in sharing)
        if given is not None and given < classes:
            raise DataError(
                f"{fields[name]}={given}: the label maps of {name} have {classes} classes, 0 to {classes - 1}"
            )
        return given or classes
    if given is not None:
        return given
    if config.alpha == "keep" and any(map(_is_transparent, _image_columns(domains[number], data))):
        return 4
    return max(_num_channels(part.train.columns[name]) for part in (data, *data.others))


def _num_channels(column: Column) -> int:
    return column.channels() if isinstance(column, ImageFiles) else int(np.shape(column)[-1])


def _is_transparent(column: ImageFiles) -> bool:
    if column.entries:
        return any(entry.info.transparent for entry in column.entries)
    return any(image_io.probe(file).alpha for file in column.files)


def count_label_classes(names: tuple[str, ...], data: Data) -> int:
    """Return the number of classes in the label maps of a domain, of all splits. Raises DataError, ImageError."""
    ids: set[int] = set()
    columns = _image_columns(names, data)
    if not columns:
        raise DataError(LABEL_MAP_ERROR.format(names[0], "it is for image files only"))
    for column in columns:
        for index in range(len(column)):
            ids.update(_class_ids(column, index))
    try:
        return count_classes(ids)
    except ImageError as error:
        raise DataError(f"label_map: the images of {names[0]} have {error}") from error


def _class_ids(column: ImageFiles, index: int) -> list[int]:
    """Return the class ids in one label map: from the scan if possible, else by reading it."""
    info = column.entries[index].info if column.entries and column.half is None else None
    known = info and (info.values or info.indices)
    if known:
        return known
    array = replace(column, encoding=Encoding(num_classes=2))[index]
    return [int(class_id) for class_id in np.unique(array)]


def with_encodings(config: DataConfig, data: Data, fields: Fields, channels: Mapping[str, int]) -> Data:
    """Return `data` with the encoding of each column, by resolved settings and the networks' numbers of channels.

    Raises DataError for images whose values need a range that is not given.
    """
    if has_volumes(data):
        return encode_volumes(config, data)
    if (config.range, config.label_map, config.alpha) == ("full", "none", "white"):
        return data
    encodings: dict[str, Encoding] = {}
    for number, names in enumerate(columns_by_domain(data, fields)):
        encodings |= dict.fromkeys(names, _encoding(config, number, names, data, fields, channels[names[0]]))
    if config.alpha == "keep" and not any(encoding.alpha for encoding in encodings.values()):
        raise DataError(
            "alpha=keep: no image has transparency, or the networks have no fourth channel; remove this setting"
        )
    sets = [_apply(part, encodings) for part in (data, *data.others)]
    return replace(sets[0], others=tuple(sets[1:]))


def _encoding(
    config: DataConfig, number: int, names: tuple[str, ...], data: Data, fields: Fields, channels: int
) -> Encoding:
    """Return the encoding of a domain by its number, 0 or 1."""
    if number in _label_maps(config, data, fields):
        return Encoding(num_classes=channels)
    has_alpha = config.alpha == "keep" and channels == 4
    value_range = ranges_of(config.range)[number]
    if value_range == "full":
        if problem := _needs_range(names, data):
            raise DataError(problem)
        return Encoding(alpha=has_alpha)
    if has_alpha:
        raise DataError("range and alpha=keep are not supported together for one domain; choose one")
    return Encoding((float(value_range[0]), float(value_range[1])), _dtype_of(names, data))


def _apply(data: Data, encodings: Mapping[str, Encoding]) -> Data:
    """Return one data set with the given encodings of its columns."""

    def with_encoding(split: Split) -> Split:
        columns = {
            name: replace(column, encoding=encodings[name]) if isinstance(column, ImageFiles) else column
            for name, column in split.columns.items()
        }
        return replace(split, columns=columns)

    test = with_encoding(data.test) if data.test else None
    return replace(data, train=with_encoding(data.train), held_out=with_encoding(data.held_out), test=test)


def encodings_of(split: Split) -> dict[str, Encoding]:
    """Return the encoding of each column of image files and of slices."""
    columns = {name: column for name, column in split.columns.items() if isinstance(column, ImageFiles | ImageColumn)}
    return {name: column.encoding for name, column in columns.items()}


def notes_on_encodings(split: Split) -> list[str]:
    """Return a line for each image column with an encoding other than the default."""
    return [f"{name}: {encoding}" for name, encoding in encodings_of(split).items() if str(encoding)]


def columns_by_domain(data: Data, fields: Fields) -> list[tuple[str, ...]]:
    """Return the columns of each domain, the source first. Columns of the same images belong to one domain."""
    domains: list[list[str]] = []
    columns = data.train.columns
    for name in fields:
        names = next((names for names in domains if _is_same(columns[names[0]], columns[name])), None)
        if names is None:
            domains.append([name])
        else:
            names.append(name)
    return [tuple(names) for names in domains]


def _is_same(a: Column, b: Column) -> bool:
    """Return whether two columns have the same images."""
    if isinstance(a, ImageFiles) and isinstance(b, ImageFiles):
        return (a.files, a.half, a.side) == (b.files, b.half, b.side)
    return a is b


def _label_maps(config: DataConfig, data: Data, fields: Fields) -> tuple[int, ...]:
    """Return the numbers of the domains with label maps. Raises DataError if there are not two domains."""
    numbers = LABEL_MAP_DOMAINS[config.label_map]
    if numbers and len(columns_by_domain(data, fields)) != 2:
        raise DataError(LABEL_MAP_ERROR.format(config.label_map, "this method has no source and target domain"))
    return numbers


def _image_columns(
    names: tuple[str, ...], data: Data, splits: tuple[str, ...] = ("train", "held_out", "test")
) -> list[ImageFiles]:
    """Return the columns of image files of a domain, in the given splits of all data sets."""
    columns = []
    for part in (data, *data.others):
        for split_name, split in (("train", part.train), ("held_out", part.held_out), ("test", part.test)):
            if split_name in splits and split is not None:
                columns += [split.columns[name] for name in names]
    return list(dict.fromkeys(column for column in columns if isinstance(column, ImageFiles)))
