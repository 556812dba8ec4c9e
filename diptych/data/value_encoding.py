"""From the settings `range`, `label_map` and `alpha` and the images themselves to the `Encoding` of each column.

What only the images can tell (the limits of `range=auto`, the number of classes, whether there is alpha) is found once,
when training starts, and kept in the recipe: `range` becomes numbers, the others channel counts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from diptych.data.config import DataConfig, Range, ranges_of
from diptych.data.dataset import Column, Data, ImageFiles, Split
from diptych.data.images import image_io
from diptych.data.images.class_maps import count_classes
from diptych.data.images.encoding import Encoding
from diptych.errors import DataError, ImageError

Fields = Mapping[str, str]  # of each column of images the setting that counts its channels
PLACES: Mapping[str, tuple[int, ...]] = {"none": (), "source": (0,), "target": (1,), "both": (0, 1)}
LABEL_MAP = "label_map={}: {}; leave it out"


def resolve_ranges(config: DataConfig, data: Data, fields: Fields) -> DataConfig:
    """Return `config` with numbers for `range=auto`: lowest and highest value of the training images of each domain.

    A range that is all of what the depth can hold is `full`. Raises DataError for a range that the files cannot have.
    """
    names, maps = columns_by_domain(data, fields), _label_maps(config, data, fields)
    if config.range == "full":
        return config
    if len(names) == len(maps):
        raise DataError(f"range={config.range}: label maps of class ids have no range; leave it out")
    if not isinstance(config.range, str) and not isinstance(config.range[0], int | float) and len(names) != 2:
        raise DataError(f"range={config.range}: this method has one domain: give one range")
    ranges = ranges_of(config.range)
    found = tuple(
        "full" if place in maps else _resolved(each, domain, data)
        for place, (each, domain) in enumerate(zip(ranges, names, strict=False))
    )
    return config.model_copy(update={"range": found if len(found) == 2 else found[0]})


def _resolved(value: Range, names: tuple[str, ...], data: Data) -> Range:
    """The range of one domain, whose columns have these names, as numbers or `full`."""
    if value == "full":
        return value
    dtype = _dtype_of(names, data)
    white = image_io.white_of(np.dtype(dtype))
    if value != "auto":
        if value[1] > white:
            given = f"[{value[0]:g},{value[1]:g}]"
            raise DataError(f"range={given}: the images of {names[0]} hold {dtype} values, 0 to {white}")
        return value
    limits = np.array([each for column in _pictures(names, data, ("train",)) for each in _limits(column)])
    low, high = float(limits[:, 0].min()), float(limits[:, 1].max())
    return "full" if low == high or (low, high) == (0, white) else (low, high)


def _dtype_of(names: tuple[str, ...], data: Data) -> str:
    """The one dtype of the images of a domain. DataError if there are two."""
    found: dict[str, str] = {}
    for column in _pictures(names, data):
        for at in range(len(column)):
            dtype = column.entries[at].info.dtype if column.entries else image_io.probe(column.files[at]).dtype
            found.setdefault(dtype, column.name(at))
    if not found:
        raise DataError("range, label_map and alpha are settings of image files: leave them out")
    if len(found) > 1:
        each = ", ".join(f"{dtype} ({name})" for dtype, name in found.items())
        raise DataError(f"range: the images of {names[0]} have several depths: {each}; convert them, or use range=full")
    return next(iter(found))


def _limits(column: ImageFiles) -> Iterator[tuple[float, float]]:
    """The lowest and highest value of each image; of halves by reading them."""
    for at in range(len(column)):
        finding = column.entries[at].info if column.entries else None
        if finding is None or finding.low is None or finding.high is None or column.half is not None:
            array = column[at]
            yield float(array.min()), float(array.max())
        else:
            yield finding.low, finding.high


def count_channels(name: str, config: DataConfig, data: Data, fields: Fields, given: int | None = None) -> int:
    """Return the channels that a column of images has for a network: classes of a label map, or those of the files.

    `given` channels are returned as they are. Raises DataError, ImageError for a label map that holds no class ids, or
    more of them than `given`, or than 256.
    """
    found, maps = columns_by_domain(data, fields), _label_maps(config, data, fields)
    place = next(place for place, names in enumerate(found) if name in names)
    if place in maps:
        sharing = [names for names in found if fields[names[0]] == fields[name]]
        if len(sharing) > len([names for names in sharing if found.index(names) in maps]):
            raise DataError(LABEL_MAP.format(config.label_map, f"{fields[name]} counts the channels of both domains"))
        classes = max(count_label_classes(names, data) for names in sharing)
        if given is not None and given < classes:
            raise DataError(
                f"{fields[name]}={given}: the label maps of {name} hold {classes} classes, 0 to {classes - 1}"
            )
        return given or classes
    if given is not None:
        return given
    if config.alpha == "keep" and any(map(_is_transparent, _pictures(found[place], data))):
        return 4
    return max(_count(each.train.columns[name]) for each in (data, *data.others))


def _count(column: Column) -> int:
    return column.channels() if isinstance(column, ImageFiles) else int(np.shape(column)[-1])


def _is_transparent(column: ImageFiles) -> bool:
    if column.entries:
        return any(entry.info.transparent for entry in column.entries)
    return any(image_io.probe(file).alpha for file in column.files)


def count_label_classes(names: tuple[str, ...], data: Data) -> int:
    """Return the number of classes in the label maps of a domain, of all splits. Raises DataError, ImageError."""
    ids: set[int] = set()
    columns = _pictures(names, data)
    if not columns:
        raise DataError(LABEL_MAP.format(names[0], "it is for image files"))
    for column in columns:
        for at in range(len(column)):
            ids.update(_ids(column, at))
    try:
        return count_classes(ids)
    except ImageError as error:
        raise DataError(f"label_map: the images of {names[0]} hold {error}") from error


def _ids(column: ImageFiles, at: int) -> list[int]:
    """The class ids in one label map, as the scan found them if it did."""
    finding = column.entries[at].info if column.entries and column.half is None else None
    known = finding and (finding.values or finding.indices)
    if known:
        return known
    ids = replace(column, encoding=Encoding(num_classes=2))[at]
    return [int(each) for each in np.unique(ids)]


def with_encodings(config: DataConfig, data: Data, fields: Fields, channels: Mapping[str, int]) -> Data:
    """Return `data` with the encoding of each column, as the resolved settings and the networks' channels have it."""
    if (config.range, config.label_map, config.alpha) == ("full", "none", "white"):
        return data
    encodings: dict[str, Encoding] = {}
    for place, names in enumerate(columns_by_domain(data, fields)):
        encodings |= dict.fromkeys(names, _encoding(config, place, names, data, fields, channels[names[0]]))
    if config.alpha == "keep" and not any(each.alpha for each in encodings.values()):
        raise DataError("alpha=keep: no image has transparency, or the networks have no fourth channel; leave it out")
    sets = [_with(each, encodings) for each in (data, *data.others)]
    return replace(sets[0], others=tuple(sets[1:]))


def _encoding(
    config: DataConfig, place: int, names: tuple[str, ...], data: Data, fields: Fields, channels: int
) -> Encoding:
    if place in _label_maps(config, data, fields):
        return Encoding(num_classes=channels)
    has_alpha = config.alpha == "keep" and channels == 4
    value_range = ranges_of(config.range)[place]
    if value_range == "full":
        return Encoding(alpha=has_alpha)
    if has_alpha:
        raise DataError("range and alpha=keep: both for one domain are not supported; choose one")
    return Encoding((float(value_range[0]), float(value_range[1])), _dtype_of(names, data))


def _with(data: Data, encodings: Mapping[str, Encoding]) -> Data:
    def changed(split: Split) -> Split:
        columns = {
            name: replace(column, encoding=encodings[name]) if isinstance(column, ImageFiles) else column
            for name, column in split.columns.items()
        }
        return replace(split, columns=columns)

    test = changed(data.test) if data.test else None
    return replace(data, train=changed(data.train), held_out=changed(data.held_out), test=test)


def encodings_of(split: Split) -> dict[str, Encoding]:
    """Return the encoding of each column of image files."""
    return {name: each.encoding for name, each in split.columns.items() if isinstance(each, ImageFiles)}


def notes_on_encodings(split: Split) -> list[str]:
    """Return a line for each column of images that is not read as usual."""
    return [f"{name}: {encoding}" for name, encoding in encodings_of(split).items() if str(encoding)]


def columns_by_domain(data: Data, fields: Fields) -> list[tuple[str, ...]]:
    """Return the columns of each domain: of the source first, then of the target. Equal columns are of one domain."""
    found: list[tuple[str, ...]] = []
    columns = data.train.columns
    for name in fields:
        same = [names for names in found if _is_same(columns[names[0]], columns[name])]
        if same:
            found[found.index(same[0])] = (*same[0], name)
        else:
            found.append((name,))
    return found


def _is_same(one: Column, other: Column) -> bool:
    return one is other or (
        isinstance(one, ImageFiles)
        and isinstance(other, ImageFiles)
        and one.files == other.files
        and one.half == other.half
    )


def _label_maps(config: DataConfig, data: Data, fields: Fields) -> tuple[int, ...]:
    """The places of the domains that hold label maps. DataError where there is no source and target."""
    places = PLACES[config.label_map]
    if places and len(columns_by_domain(data, fields)) != 2:
        raise DataError(LABEL_MAP.format(config.label_map, "this method has no source and target domain"))
    return places


def _pictures(
    names: tuple[str, ...], data: Data, splits: tuple[str, ...] = ("train", "held_out", "test")
) -> list[ImageFiles]:
    """The columns of a domain that are of image files."""
    found = [
        split
        for each in (data, *data.others)
        for name, split in (("train", each.train), ("held_out", each.held_out), ("test", each.test))
        if name in splits and split is not None
    ]
    columns = [split.columns[name] for split in found for name in names]
    return list(dict.fromkeys(column for column in columns if isinstance(column, ImageFiles)))
