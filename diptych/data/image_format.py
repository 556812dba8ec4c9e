"""The format of the training images: domain, dtype and size of each batch entry, and how they were resized.

It is saved in the run folder (`data.json`) and in the model folder, so that inference can do as training did.
"""

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from os.path import commonpath
from pathlib import Path
from statistics import median, median_low
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from diptych.data.checks.scales import scale_of
from diptych.data.config import DataConfig, Interpolation, ResizeMode, TaskName
from diptych.data.dataset import Column, Data
from diptych.data.image_columns import ImageColumn, ImageFiles
from diptych.data.images.class_maps import MAX_CLASSES
from diptych.data.images.encoding import PLAIN, Encoding
from diptych.data.images.metadata import channel_names, palette_of
from diptych.data.images.stored_values import limits_of
from diptych.data.sources.folders import SPLITS
from diptych.data.tasks.known_tasks import task_of
from diptych.data.tasks.task import Task
from diptych.data.volumes.geometry import Axis
from diptych.data.volumes.slices import VolumeSlices

MAX_RATIO = 1.5  # largest ratio of scales or aspect ratios, between training and inference, without a warning
HALVES = ("left", "right")

Depth = Literal["uint8", "uint16", "int16", "int32", "float32"]


class ImageFormat(BaseModel):
    """The format of the training images of one batch entry."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    domain: str = Field(max_length=300, description="name of the folder, or the half of the files in it")
    half: Literal[0, 1] | None = Field(None, description="0: left half of each file; 1: right half; None: entire file")
    dtype: Depth = Field("uint8", description="the most common dtype")
    height: int = Field(ge=1, le=2**20, description="median, in pixels")
    width: int = Field(ge=1, le=2**20, description="median, in pixels; of one half if files have two")
    value_range: tuple[float, float] | None = Field(
        None, description="pixel values mapped to -1 and 1; None: the full range of the dtype"
    )
    num_classes: int | None = Field(
        None, ge=2, le=MAX_CLASSES, description="number of classes of a label map; None: no label map"
    )
    alpha: bool = Field(False, description="whether the last channel is alpha")
    axis: Axis | None = Field(None, description="slices of volumes: their axis; None: image files")
    context: int = Field(0, ge=0, le=16, description="neighbouring slices on each side, as channels")
    spacing: tuple[float, float] | None = Field(
        None, description="median distance of the rows and of the columns of slices, in mm"
    )
    channel_names: tuple[Annotated[str, Field(max_length=100)], ...] = Field(
        (), max_length=1024, description="names of the channels, from the OME-XML of the first image; none if unknown"
    )

    palette: str | None = Field(
        None, max_length=1536, pattern="^([0-9a-f]{6})+$", description="RGB colours of a label map's files, if known"
    )

    @model_validator(mode="after")
    def _range_fits_depth(self) -> "ImageFormat":
        if self.value_range:
            (low, high), (least, most) = self.value_range, limits_of(np.dtype(self.dtype))
            if not least <= low < high <= most:
                raise ValueError(f"value_range={list(self.value_range)}: not a range of {self.dtype} values")
        return self

    @property
    def encoding(self) -> Encoding:
        """The encoding of pixel values for the networks."""
        return Encoding(self.value_range, self.dtype, self.num_classes, self.alpha)

    def is_double(self, height: int, width: int) -> bool:
        """Return whether a file of this size has two images side by side, as the training files of this entry."""
        return self.half is not None and width >= 2 and width == round(2 * height * self.width / self.height)


def _current_resize_mode(value: Any) -> Any:
    """Return the present name of a resize mode that an earlier version saved."""
    return {"short": "short_side", "centre": "center_square"}.get(value, value) if isinstance(value, str) else value


class SavedTask(BaseModel):
    """The task that computed the pairs of a training, with its options."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: TaskName
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _check_options(self) -> "SavedTask":
        task_of(self.name, self.options)
        return self

    @property
    def task(self) -> Task:
        """The task itself."""
        return task_of(self.name, self.options)


class TrainingImages(BaseModel):
    """The formats of the training images of each batch entry, and how they were resized."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    crop: int = Field(ge=1, le=2**14, description="size of the square training images, in pixels (crop_size)")
    load: int = Field(ge=1, le=2**14, description="size before the random crop, in pixels (load_size)")
    fit: Annotated[ResizeMode, BeforeValidator(_current_resize_mode)] = Field(description="how images were resized")
    interpolation: Interpolation = Field("bicubic", description="filter that resized images")
    entries: dict[str, ImageFormat] = Field(max_length=100)
    task: SavedTask | None = Field(None, description="task that computed the pairs; None: pairs were given")

    def value_settings(self) -> dict[str, Any]:
        """Return the settings of range, label map, alpha and task for data in the format of the training images."""
        formats = list(self.entries.values())
        source, target = (formats[0], formats[-1]) if formats else (None, None)
        if source is None or target is None:
            return {}
        maps = (source.num_classes is not None, target.num_classes is not None)
        slices = {"axis": source.axis, "context": max(source.context, target.context)} if source.axis else {}
        ranges = tuple(entry.value_range or "full" for entry in (source, target))
        return {
            "range": ranges if ranges[0] != ranges[1] else ranges[0],
            "label_map": {(True, True): "both", (True, False): "source", (False, True): "target"}.get(maps, "none"),
            "alpha": "keep" if any(entry.alpha for entry in formats) else "white",
            **slices,
            **({"task": self.task.name, "task_options": self.task.options} if self.task else {}),
        }

    @property
    def size(self) -> int:
        """The size to resize images to: `crop`, as for held-out images; `load` if it is much larger than `crop`."""
        return self.crop if self.load <= MAX_RATIO * self.crop else self.load

    def resized(self, entry: str, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of an image of this batch entry, at the scale of the training images.

        Nothing is cropped: the shorter side becomes `size`. With `squash`, the shorter side is that relative to the
        training images, so an image with their aspect ratio gets the size that it had in training.
        """
        stored = self.entries.get(entry)
        if stored is None or self.fit == "none":
            return height, width
        high, wide = (height / stored.height, width / stored.width) if self.fit == "squash" else (height, width)
        factor = self.size / min(high, wide)
        return max(1, round(high * factor)), max(1, round(wide * factor))

    def scale_of(self, entry: str, height: int, width: int) -> float:
        """Return the scale of an image of this batch entry, relative to the training images after resizing."""
        high, wide = self.resized(entry, height, width)
        return sqrt(height * width / (high * wide))


def describe_images(data: Data, config: DataConfig) -> TrainingImages:
    """Return the formats of the training images of `data`, which was opened with `config` and scanned."""
    domains, root = domains_of(data, config), Path(config.root).expanduser()
    formats = {name: _format_of(column, domains.get(name, root.name)) for name, column in data.train.columns.items()}
    uses_load_size = config.crop_mode == "random" and config.random_crop_until > 0
    return TrainingImages(
        crop=config.crop_size,
        load=config.effective_load_size if uses_load_size else config.crop_size,
        fit=config.resize_mode,
        interpolation=config.interpolation,
        entries={name: entry for name, entry in formats.items() if entry is not None},
        task=SavedTask(name=config.task, options=config.task_options) if config.task else None,
    )


def domains_of(data: Data, config: DataConfig) -> dict[str, str]:
    """Return the names of the domains, by image column."""
    root = Path(config.root).expanduser()
    columns = {name: column for name, column in data.train.columns.items() if isinstance(column, ImageFiles)}
    return {name: domain_of(column, root) for name, column in columns.items()} | dict(data.domains)


def domain_of(column: ImageFiles, root: Path) -> str:
    """Return the name of the folder of the images, without that of the split, or the half of the files."""
    folder = Path(commonpath([file.parent for file in column.files]))
    inside = folder.relative_to(root).parts if folder.is_relative_to(root) else folder.parts[-1:]
    named = "/".join(part for part in inside if part not in SPLITS)
    name = named or f"{'/'.join(inside) or root.name}/"
    return (name if column.half is None else f"{HALVES[column.half]} half of {name}")[-300:]


def direction_of(data: Data, config: DataConfig) -> str:
    """Return `, from X to Y` and how to reverse it, for data of two domains; else an empty text."""
    domains = list(dict.fromkeys(domains_of(data, config).values()))
    if len(domains) != 2 or config.target_root:
        return ""
    reverse = "b2a" if config.direction == "a2b" else "a2b"
    return f", from {domains[0]} to {domains[1]} (direction={reverse} reverses it)"


def direction_notes(data: Data, config: DataConfig) -> tuple[str, ...]:
    """Return notes for the user on direction and aspect ratios of `data`, which was scanned."""
    columns = [column for column in data.train.columns.values() if isinstance(column, ImageFiles)]
    domains, notes = list(dict.fromkeys(domains_of(data, config).values())), []
    conventional = all(name.endswith(letter) for name, letter in zip(domains, "AB", strict=False))
    chosen = config.folders or config.direction != "a2b" or config.target_root or data.domains
    if len(domains) == 2 and not (conventional or chosen or columns[0].half is not None):
        notes.append(
            f"{domains[0]} is the source only by alphabetical order; direction=b2a goes from {domains[1]} to "
            f"{domains[0]}"
        )
    if data.train.aligned and len(columns) == 2 and columns[0].half is None:
        scale = scale_of(columns[0].files, columns[1].files)
        if scale is not None and scale.large == columns[0].files[0].parent:
            reverse = "b2a" if config.direction == "a2b" else "a2b"
            notes.append(f"{scale}: this trains downsampling; direction={reverse} trains super-resolution")
    if config.crop_mode == "random_resized":
        is_squashed, remedy = config.resize_mode != "center_square", "center_square"
    else:
        is_squashed, remedy = config.resize_mode == "squash", "short_side"
    for column in columns if is_squashed else ():
        if (change := aspect_of(sizes_of(column))) > MAX_RATIO:
            notes.append(
                f"{domain_of(column, Path(config.root).expanduser())}: images are resized to a square, which changes "
                f"their aspect ratio by {change:.1f} (median); resize_mode={remedy} keeps it"
            )
    return tuple(dict.fromkeys(notes))


def sizes_of(column: ImageFiles) -> list[tuple[int, int]]:
    """Return the height and width of each image of a scanned column; of one half if files have two."""
    halves = 1 if column.half is None else 2
    return [(entry.info.height, max(1, entry.info.width // halves)) for entry in column.entries]


def aspect_of(sizes: Sequence[tuple[int, int]]) -> float:
    """Return the median ratio of the longer side to the shorter side; 1 without images."""
    return median(max(size) / min(size) for size in sizes) if sizes else 1.0


def _format_of(column: Column, domain: str) -> ImageFormat | None:
    """Return the format of a column of images; None for labels."""
    half = column.half if isinstance(column, ImageFiles) else None
    encoding = column.encoding if isinstance(column, ImageFiles | ImageColumn) else PLAIN
    slices: dict[str, Any] = {}
    if isinstance(column, ImageFiles) and column.entries:
        sizes = sizes_of(column)
        height, width = median_low(high for high, _ in sizes), median_low(wide for _, wide in sizes)
        dtype = Counter(entry.info.dtype for entry in column.entries).most_common(1)[0][0]
    elif isinstance(column, VolumeSlices):
        height, width = median_low(high for high, _ in column.sizes()), median_low(wide for _, wide in column.sizes())
        spacing = tuple(median_low(values) for values in zip(*column.spacings(), strict=True))
        dtype, slices = "float32", {"axis": column.axis, "context": column.context, "spacing": spacing}
    else:
        first = np.asarray(column[0])
        if first.ndim != 3:
            return None
        height, width, dtype = first.shape[0], first.shape[1], first.dtype.name
    return ImageFormat.model_validate(
        {
            "domain": domain,
            "half": half,
            "dtype": encoding.dtype or dtype,
            "height": height,
            "width": width,
            "value_range": encoding.value_range,
            "num_classes": encoding.num_classes,
            "alpha": encoding.alpha,
            **slices,
            "channel_names": channel_names(column.files[0]) if isinstance(column, ImageFiles) else (),
            "palette": _palette_of(column) if encoding.num_classes else None,
        }
    )


def _palette_of(column: Column) -> str | None:
    """Return the palette of the first label map of a column in hexadecimal; None if it has none."""
    palette = palette_of(column.files[0]) if isinstance(column, ImageFiles) else None
    return palette.hex() if palette else None
