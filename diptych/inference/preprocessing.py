"""Adapt images to a trained model: half of side-by-side files, scale and bit depth as in training."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from diptych.data.image_format import HALVES, MAX_RATIO, TrainingImages
from diptych.data.images import image_io
from diptych.data.images.alpha import with_alpha
from diptych.data.images.encoding import PLAIN, Encoding
from diptych.data.images.metadata import NO_METADATA, Metadata
from diptych.data.images.stored_values import WITH_RANGE
from diptych.data.tasks.task import finished, unit
from diptych.errors import ConfigError, ImageError
from diptych.seeds import random_state

DTYPES: dict[Any, type] = {8: np.uint8, 16: np.uint16, "float": np.float32}


class Options(BaseModel):
    """Options for images whose size, layout or depth differs from the training images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: Literal["image", "training"] = Field(
        "image", description="translate at the size of the image, or resize it to the scale of training and back"
    )
    half: Literal["auto", "left", "right", "none"] = Field(
        "auto", description="half of each file to translate; auto: the source of files side by side as in training"
    )
    depth: Literal[8, 16, "float"] | None = Field(
        None, description="bits of translations; default: of files as the training images of the target domain"
    )
    already_source: bool = Field(
        False,
        description="images are sources of the model's task already, such as drawings, and not photographs to compute "
        "them from",
    )


DEFAULT = Options()


class Adapter:
    """Preprocessing of the images of a source entry, and encoding of translations to a target entry."""

    def __init__(self, images: TrainingImages | None, options: Options, source: str, target: str) -> None:
        self.images, self.options = images, options
        self.source = images.entries.get(source) if images else None
        self.target = images.entries.get(target) if images else None
        self.entry = source
        self.task = images.task.task if images and images.task else None
        if self.task and self.task.reads_alpha and options.already_source:
            raise ConfigError(f"already_source: transparent pixels are the missing ones of task={self.task.name}")

    def prepare(self) -> None:
        """Read the files of the task that computes sources, so that errors come before the first image. DataError."""
        if self.task and not self.options.already_source:
            self.task.prepare()

    def half_of(self, height: int, width: int) -> int | None:
        """Return which half of a file of this size is translated: 0, 1, or None for all of it."""
        if self.options.half != "auto":
            return HALVES.index(self.options.half) if self.options.half != "none" and width > 1 else None
        return self.source.half if self.source and self.source.is_double(height, width) else None

    def cut(self, array: np.ndarray) -> np.ndarray:
        """Return the half of an image (H, W, C) that is translated, or all of it."""
        half, middle = self.half_of(*array.shape[:2]), array.shape[1] // 2
        return array if half is None else array[:, :middle] if half == 0 else array[:, -middle:]

    def half_warning(self, height: int, width: int) -> str:
        """Return a warning if half of the file is translated by default; else ``."""
        half = self.half_of(height, width) if self.options.half == "auto" else None
        if half is None:
            return ""
        return (
            f"images are side by side as in training: the {HALVES[half]} half is translated; --half none (in Python: "
            f"translator.with_options(half='none')) translates all of it"
        )

    def scale_warning(self, sizes: Sequence[tuple[int, int]]) -> str:
        """Return a warning if the median scale of files of these heights and widths is not that of training; else ``.

        A ratio of up to 1.5 either way is accepted.
        """
        if not sizes or self.images is None or self.options.scale == "training":
            return ""
        halves = [(high, wide if self.half_of(high, wide) is None else wide // 2) for high, wide in sizes]
        ratio = median(self.images.scale_of(self.entry, *size) for size in halves)
        if 1 / MAX_RATIO <= ratio <= MAX_RATIO:
            return ""
        return (
            f"images are {ratio:.{1 if ratio > 1 else 2}f} times the scale of training, where "
            f"resize_mode={self.images.fit} resized them to {self.images.size} pixels; --scale training (in Python: "
            f"translator.with_options(scale='training')) does the same"
        )

    def resized(self, array: np.ndarray, label: str) -> np.ndarray:
        """Return an image (H, W, C) at the scale of training. ConfigError if that is not known, ImageError."""
        if self.images is None or self.source is None:
            raise ConfigError(
                "scale=training: this model does not say how its source images were resized in training; `diptych "
                "resume` of the run adds that, where they are images of its data set"
            )
        height, width = self.images.resized(self.entry, *array.shape[:2])
        if height * width > image_io.MAX_PIXELS:
            raise ImageError(f"{label}: has {width}x{height} pixels at the scale of training: cut it into pieces")
        return image_io.resize(array, height, width, self.images.interpolation)

    @property
    def kind(self) -> image_io.Kind:
        """How to read source files."""
        kind = self.source_encoding.kind
        return "rgba" if self.task and self.task.reads_alpha and kind == "colour" else kind

    def source_of(self, image: np.ndarray) -> np.ndarray:
        """Return what the networks translate for a decoded image (H, W, C): the source of the task, or the image."""
        if self.task is None or self.options.already_source:
            return image
        return self.task.source(unit(image), random_state("task"))

    def finished(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the finished translation (C, H, W) of the networks' output and their input, all in [-1, 1]."""
        return finished(self.task, y, x) if self.task else y

    def finished_channels(self, target: int) -> int:
        """Return the number of channels of a translation, for a network with `target` output channels."""
        return self.task.finished_channels(target) if self.task else target

    @property
    def source_encoding(self) -> Encoding:
        """The encoding of values in source files; that of the target for a source that is computed from it."""
        stored = self.source or self.target
        return stored.encoding if stored else PLAIN

    @property
    def target_encoding(self) -> Encoding:
        """The encoding of values in files of translations."""
        return self.target.encoding if self.target else PLAIN

    def metadata_of_files(self, source: Metadata, alpha: bool) -> Metadata:
        """Return the metadata of the file of a translation, by that of its source; `alpha`: whether it has alpha."""
        kept = source.for_pixels(self.target_encoding.num_classes is not None)
        names = self.target.channel_names if self.target else ()
        palette = bytes.fromhex(self.target.palette) if self.target and self.target.palette else None
        return replace(kept, channel_names=names, palette=palette, alpha=alpha)

    def dtype_of_files(self, source: np.dtype[Any]) -> np.dtype[Any]:
        """Return the dtype of a file of the translation of a file of dtype `source`."""
        return self.dtype_of_arrays(np.dtype(self.target.dtype) if self.target else source)

    def dtype_of_arrays(self, source: np.dtype[Any]) -> np.dtype[Any]:
        """Return the dtype of the translation of an array. Raises ConfigError if the `value_range` needs another."""
        fixed, wanted = self.target_encoding.stored_dtype, DTYPES.get(self.options.depth)
        if source.name in WITH_RANGE:  # which the target may not have
            source = np.dtype(self.target.dtype if self.target else np.float32)
        if fixed and wanted and fixed != wanted:
            raise ConfigError(f"depth={self.options.depth}: the target domain of this model is stored as {fixed}")
        return fixed or np.dtype(wanted or source)


def match_alpha(pixels: np.ndarray, kind: image_io.Kind, channels: int) -> np.ndarray:
    """Return an array (H, W, C) as files are read: RGBA for a model with alpha, else over white if it has alpha."""
    alpha = kind == "rgba"
    if alpha and pixels.shape[2] in (1, 3):
        return with_alpha(pixels)
    has_alpha = not alpha and channels in (1, 3) and pixels.shape[2] == 4 and pixels.dtype.kind == "u"
    return image_io.over_white(pixels) if has_alpha else pixels


def copy_alpha(made: np.ndarray, rgba: np.ndarray, label: str) -> np.ndarray:
    """Return an image (H, W, 1 or 3) as RGBA, in its dtype, with the alpha of another one (H', W', 4) at its size."""
    alpha = image_io.from_unit(image_io.to_unit(image_io.resize(rgba[..., 3:], *made.shape[:2])), made.dtype)
    return np.concatenate([image_io.with_channels(made, 3, label), alpha], axis=2)


def read_pixels(picture: str | Path | Image.Image | np.ndarray, label: str, kind: image_io.Kind) -> np.ndarray:
    """Return the pixels (H, W, C) of a given image, read as `kind`. Raises ImageError."""
    if isinstance(picture, np.ndarray):
        return image_io.as_pixels(picture, label, kind)
    if isinstance(picture, Image.Image):
        return image_io.from_pil(picture, label, kind)
    return image_io.read(picture, kind)


def as_pil(pixels: np.ndarray, encoding: Encoding, kept: Metadata = NO_METADATA) -> Image.Image | np.ndarray:
    """Return a PIL image with this metadata, or the array if PIL lacks the format."""
    channels = pixels.shape[-1]
    if pixels.dtype != np.uint8 or channels not in ((1, 3, 4) if encoding.alpha else (1, 3)):
        return pixels
    picture = image_io.to_pil(pixels)
    picture.info.update(kept.for_pixels(encoding.num_classes is not None).pil_info(channels))
    return picture
