"""Label maps: images in which the colour of a pixel is its class, and the palette of their colours."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import AfterValidator, Field, TypeAdapter
from torch import Tensor

from diptych.contract import Evaluator
from diptych.data.dataset import Column
from diptych.data.image_columns import ImageFiles
from diptych.data.image_tensors import image_name
from diptych.data.images import image_io
from diptych.errors import EvaluationError, listed, shown
from diptych.evaluation.metrics.image_sets import ImageSet
from diptych.system.colours import Colour, name_of, problem_of
from diptych.system.safe_parse import parse_yaml

# Distances of colours are Euclidean; black and white RGB differ by 441.
COLOUR = re.compile("#(?:[0-9a-f]{2})+")  # name of a class of a segmenter
CLASS_DISTANCE = 48.0  # smallest distance of two classes; nearer colours are noise of one class
MIN_SHARE = 0.002  # of all pixels; a rarer colour is noise
MAX_CLASSES = 64
CELL = 8  # levels of a channel that are counted as one in noisy maps
PIXEL_STEP = 7  # every 7th pixel is read
MAX_MAPS = 200  # label maps that are read to find a palette
MAX_SHOWN = 3  # colours outside the palette in a message
NOISE = 6.0  # levels; the noise of JPEG, and a few times that of a scanner
MIN_NEAR = 0.35  # share of pixels within NOISE of a class: at least 0.45 in label maps, at most 0.3 in photographs
MAX_DISTANCE = 32.0  # mean distance to the palette; images farther away are not label maps of it


def _one_length(colours: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    if problem := problem_of(colours, ()):
        raise ValueError(problem)
    return colours


Colours = Annotated[tuple[Colour, ...], Field(min_length=2, max_length=256), AfterValidator(_one_length)]
Ignored = Annotated[tuple[Colour, ...], Field(max_length=254), AfterValidator(_one_length)]


@dataclass(frozen=True)
class Palette:
    """The colour of each class, 0 to 255 in each channel, and the ignored colours.

    Pixels whose true colour is nearest to an ignored colour are not scored; a predicted ignored colour is wrong.
    EvaluationError if a colour is in both.
    """

    colours: tuple[tuple[int, ...], ...]
    ignore: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if problem := problem_of(self.colours, self.ignore):
            raise EvaluationError(problem)

    def __str__(self) -> str:
        return " ".join(map(name_of, self.colours))

    def ignoring(self, more: tuple[tuple[int, ...], ...]) -> "Palette":
        """Return the palette with more ignored colours. EvaluationError if one of them is a class."""
        return replace(self, ignore=tuple(dict.fromkeys((*self.ignore, *more))))

    @classmethod
    def of(cls, evaluator: Evaluator) -> "Palette":
        """Return the palette of a segmenter. EvaluationError for a classifier."""
        names = evaluator.classes()
        if not all(COLOUR.fullmatch(name) for name in names):
            raise EvaluationError(
                f"this evaluator is a classifier of {listed(names, 3)}; the protocol needs a segmenter: "
                f"train one with `diptych evaluator train segmenter`"
            )
        return cls(_parse_names(names), _parse_names(evaluator.ignored_classes()))

    def read(self, maps: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return the class of the nearest colour and the distance to it, both (N, H, W), of uint8 (N, C, H, W).

        The ignored colours are numbered after the K classes: K, K + 1, ...
        """
        if maps.shape[1] != len(self.colours[0]):
            raise EvaluationError(
                f"the label maps have {maps.shape[1]} channels, and the colours of the palette {len(self.colours[0])}"
            )
        squares = [
            (maps.float() - torch.tensor(colour)[:, None, None]).square().sum(1)
            for colour in (*self.colours, *self.ignore)
        ]
        nearest, classes = torch.stack(squares, 1).min(1)
        return classes.to(torch.uint8).numpy(), nearest.sqrt().numpy()

    def read_all(self, maps: ImageSet, strict: bool = True) -> np.ndarray:
        """Return the classes of all maps, (N, H, W). With `strict`, EvaluationError if they do not fit this palette."""
        batches = [self.read(batch) for batch in maps.batches()]
        distance = np.concatenate([distances.mean((1, 2)) for _, distances in batches]).mean()
        if strict and distance > MAX_DISTANCE:
            raise EvaluationError(
                f"{maps.files[0].parent}: its pixels are on average {distance:.0f} levels from the nearest of the "
                f"{len(self.colours)} colours, so they are not label maps of this palette: choose the evaluator of "
                f"this label set, or give its palette"
            )
        return np.concatenate([classes for classes, _ in batches])

    def describe(self, maps: ImageSet) -> str:
        """Return the colours, the share of pixels with other colours, and the most frequent of those.

        Such a colour may be noise, a soft edge, or a class that is missing in the palette.
        """
        others, count = [], 0
        for batch in maps.batches():
            pixels = batch[..., ::PIXEL_STEP]
            distances = self.read(pixels)[1]
            others.append(pixels.permute(0, 2, 3, 1).numpy()[distances > 2 * NOISE])
            count += distances.size
        text = f"the colours of {len(self.colours)} classes: {self}"
        if self.ignore:
            text += f"; ignored colours: {' '.join(map(name_of, self.ignore))}"
        other_pixels = np.concatenate(others)
        if not len(other_pixels):
            return text
        peaks = islice(_peaks(*_count_colours(other_pixels, CELL), 4 * NOISE), MAX_SHOWN)
        common = ", ".join(f"{name_of(colour)} ({100 * near / count:.2g} %)" for colour, _, near in peaks)
        share = 100 * len(other_pixels) / count
        return f"{text}; {share:.2g} % of the pixels have other colours, most often {common}"


def _parse_names(names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Return the colours of names such as `#ff0000`."""
    return tuple(tuple(bytes.fromhex(name[1:])) for name in names)


def parse_palette(text: str | None) -> Palette | None:
    """Return the palette in a text such as [[0,0,0],[255,0,0]]; None for None. EvaluationError if it is invalid."""
    try:
        return Palette(TypeAdapter(Colours).validate_python(parse_yaml(text))) if text else None
    except ValueError as error:
        raise EvaluationError(
            f"{shown(text)}: not a palette; give colours of 0 to 255, as [[0,0,0],[255,0,0]]"
        ) from error


def parse_ignored(text: str | None) -> tuple[tuple[int, ...], ...]:
    """Return the colours in a text such as [[0,0,0]], or [255] for maps of class numbers. EvaluationError."""
    try:
        return TypeAdapter(Ignored).validate_python(parse_yaml(text)) if text else ()
    except ValueError as error:
        raise EvaluationError(
            f"{shown(text)}: expected colours to ignore, as [[0,0,0],[111,74,0]], or class numbers, as [255]"
        ) from error


def palette_of(maps: Column, ignore: tuple[tuple[int, ...], ...] = ()) -> Palette:
    """Return the palette found in at most MAX_MAPS label maps of a column, evenly spaced."""
    return find_palette(_sampled_maps(maps), ignore)


def share_ignored(maps: Column, palette: Palette) -> float:
    """Return the share of the pixels of at most MAX_MAPS label maps that the palette ignores."""
    arrays = _sampled_maps(maps, len(palette.colours[0]))
    all_classes = [palette.read(torch.from_numpy(array.transpose(2, 0, 1))[None])[0] for array in arrays]
    ignored = sum(int((classes >= len(palette.colours)).sum()) for classes in all_classes)
    return ignored / sum(classes.size for classes in all_classes)


def share_near(maps: Column, colours: tuple[tuple[int, ...], ...]) -> float | None:
    """Return the share of the pixels of at most MAX_MAPS images that have one of the colours, up to noise.

    None if the images have another number of channels.
    """
    near, count = 0, 0
    for pixels in _sampled_maps(maps):
        if pixels.shape[2] != len(colours[0]):
            return None
        squares = [np.square(pixels.astype(np.int32) - np.array(colour)).sum(2) for colour in colours]
        near += int((np.min(squares, 0) <= (2 * NOISE) ** 2).sum())
        count += squares[0].size
    return near / count


def _sampled_maps(maps: Column, channels: int | None = None) -> list[np.ndarray]:
    """Return at most MAX_MAPS label maps, evenly spaced, as uint8 (H, W, C), by default with their own channels."""
    indices = np.linspace(0, len(maps) - 1, min(MAX_MAPS, len(maps))).round().astype(int).tolist()
    arrays: list[Any] = [maps[index] for index in indices]
    channels = channels or (maps.channels() if isinstance(maps, ImageFiles) else arrays[0].shape[-1])
    converted = [
        image_io.with_channels(array, channels, image_name(maps, index))
        for index, array in zip(indices, arrays, strict=True)
    ]
    return [image_io.from_unit(image_io.to_unit(array), np.uint8) for array in converted]


def find_palette(maps: Sequence[np.ndarray], ignore: tuple[tuple[int, ...], ...] = ()) -> Palette:
    """Return the colours of label maps uint8 (H, W, C), most frequent first; noise belongs to the nearest class.

    Maps with at most MAX_CLASSES colours have no noise, and all colours are classes. Colours of `ignore` are no
    classes; in noisy maps, neither are colours within CLASS_DISTANCE / 2 of one. EvaluationError if there is only one
    colour, or the images are not label maps.
    """
    pixels = np.concatenate([array.reshape(-1, array.shape[-1])[::PIXEL_STEP] for array in maps])
    colours, is_noisy = _frequent_colours(pixels)
    if (share := _share_near(pixels, colours)) < MIN_NEAR:
        raise EvaluationError(
            f"{100 * (1 - share):.0f} % of the pixels lie between the colours: these are not label maps but other "
            f"images, or resized label maps; if the two images of a pair are swapped, change direction"
        )
    if ignore and len(ignore[0]) != len(colours[0]):
        raise EvaluationError(f"ignored colours of {len(ignore[0])} levels: label maps of {len(colours[0])} channels")
    min_distance = CLASS_DISTANCE / 2 if is_noisy else 1.0
    classes = tuple(
        colour for colour in colours if all(math.dist(colour, ignored) >= min_distance for ignored in ignore)
    )
    if len(classes) < 2:
        raise EvaluationError(
            f"only {len(classes)} colours of the label maps are not ignored: at least 2 classes are required"
        )
    return Palette(classes, ignore)


def _frequent_colours(pixels: np.ndarray) -> tuple[list[tuple[int, ...]], bool]:
    """Return the colours of pixels (M, C) that may be classes, and whether there is noise around them."""
    values, counts = _count_colours(pixels, 1)
    is_noisy, remaining = len(values) > MAX_CLASSES, len(pixels)
    if is_noisy:
        values, counts = _count_colours(pixels, CELL)
    colours: list[tuple[int, ...]] = []
    for value, count, near in _peaks(values, counts, CLASS_DISTANCE if is_noisy else 1):
        if count <= MIN_SHARE * len(pixels):
            break
        colours.append(_class_colour(pixels, value) if is_noisy else tuple(map(int, value)))
        remaining -= near
        if len(colours) > MAX_CLASSES:
            raise EvaluationError(f"more than {MAX_CLASSES} colours: these images are not label maps")
    if len(colours) == 1 and remaining < MIN_SHARE * len(pixels):
        raise EvaluationError("the label maps have only one colour; at least 2 classes are required")
    return colours, is_noisy


def _count_colours(pixels: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours of pixels (M, C), rounded to centres of cells of `width` levels, and their counts.

    The most frequent colour comes first.
    """
    cells = (pixels // width).view(f"V{pixels.shape[1]}")  # a pixel as one value, which is ten times faster
    values, counts = np.unique(cells, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    colours = values[order].view(np.uint8).reshape(-1, pixels.shape[1]).astype(np.int64)
    return colours * width + width // 2, counts[order]


def _peaks(colours: np.ndarray, counts: np.ndarray, distance: float) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yield the most frequent colour that is at least `distance` from all previous ones.

    With each come its count, and the count of all remaining colours nearer than `distance`, itself included.
    """
    while len(colours):
        near = np.linalg.norm(colours - colours[0], axis=1) < distance
        yield colours[0], counts[0], counts[near].sum()
        colours, counts = colours[~near], counts[~near]


def _class_colour(pixels: np.ndarray, colour: np.ndarray) -> tuple[int, ...]:
    """Return the median of the pixels around a colour; two iterations, as noise may cross the edge of its cell."""
    median, pixels = colour, pixels[(np.abs(pixels - colour.astype(np.int16)) <= 4 * NOISE).all(1)]
    for _ in range(2):
        inside = pixels[(np.abs(pixels - median) <= 2 * NOISE).all(1)]
        median = np.median(inside, axis=0).round() if len(inside) else median
    return tuple(map(int, median))


def _share_near(pixels: np.ndarray, colours: Sequence[tuple[int, ...]]) -> float:
    """Return the share of pixels within NOISE of their class.

    Pixels of the first class are not counted: it may be the white border of photographs.
    """
    if len(colours) < 2:
        return 0.0
    sample = pixels[:: 1 + len(pixels) // 200_000]
    distances = np.stack([np.linalg.norm(sample - np.array(colour), axis=1) for colour in colours], 1)
    nearest = distances[distances.argmin(1) > 0].min(1)
    return float(np.mean(nearest < NOISE)) if len(nearest) else 0.0
