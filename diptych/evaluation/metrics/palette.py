"""Label maps: pictures in which the colour of each pixel says its class."""

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
from diptych.data.batches import image_name
from diptych.data.dataset import Column
from diptych.data.dataset import ImageFiles as Files
from diptych.data.images import image_io
from diptych.errors import EvaluationError, shown
from diptych.evaluation.metrics.image_sets import ImageSet
from diptych.system.colours import Colour, name_of, problem_of
from diptych.system.safe_parse import parse_yaml

COLOUR = re.compile("#(?:[0-9a-f]{2})+")  # how a judge calls a class that it paints
APART = 48.0  # colours nearer than this, of 441 from black to white, are one class and its noise
FEWEST = 0.002  # of all pixels: what is rarer is noise
MOST = 64  # classes
CELL = 8  # levels of a channel that are counted as one, where there is noise
EACH = 7  # of so many pixels one is looked at
LOOKED_AT = 200  # maps that a palette is found in
SHOWN = 3  # colours between those of the palette, at most
NEAR = 6.0  # what JPEG adds to a level, and a few times the noise of a scanner
FEW = 0.35  # of the pixels that lie so near: label maps have 0.45 and more, photographs 0.3 and less
FAR = 32.0  # mean distance to the palette from which on pictures are no label maps of it


def _one_length(colours: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    if problem := problem_of(colours, ()):
        raise ValueError(problem)
    return colours


Colours = Annotated[tuple[Colour, ...], Field(min_length=2, max_length=256), AfterValidator(_one_length)]
Ignored = Annotated[tuple[Colour, ...], Field(max_length=254), AfterValidator(_one_length)]


@dataclass(frozen=True)
class Palette:
    """The colour of each class, 0 to 255 in each channel, and the colours that are ignored.

    Pixels whose true colour is nearest to an ignored one are dropped from all scores; a prediction there is wrong.
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
        """With these ignored too. EvaluationError if one of them is a class."""
        return replace(self, ignore=tuple(dict.fromkeys((*self.ignore, *more))))

    @classmethod
    def of(cls, judge: Evaluator) -> "Palette":
        """What a judge paints with. EvaluationError if it paints no label maps."""
        names, ignored = judge.classes(), judge.ignored_classes()
        if not all(COLOUR.fullmatch(name) for name in names):
            raise EvaluationError(
                f"this judge tells whole pictures apart ({', '.join(names[:3])}, ...), but one is needed that paints "
                f"label maps: diptych judge train segmenter"
            )
        colours, ignore = (tuple(tuple(bytes.fromhex(name[1:])) for name in some) for some in (names, ignored))
        return cls(colours, ignore)

    def read(self, maps: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (N, C, H, W) to classes (N, H, W) by the nearest colour, and the distance to it (N, H, W).

        The ignored colours are numbered after the K classes: K, K + 1, ...
        """
        if maps.shape[1] != len(self.colours[0]):
            raise EvaluationError(
                f"label maps of {maps.shape[1]} channels do not go with colours of {len(self.colours[0])}"
            )
        apart = torch.stack(
            [
                (maps.float() - torch.tensor(colour)[:, None, None]).square().sum(1)
                for colour in (*self.colours, *self.ignore)
            ],
            1,
        )
        nearest, classes = apart.min(1)
        return classes.to(torch.uint8).numpy(), nearest.sqrt().numpy()

    def read_all(self, maps: ImageSet, strict: bool = True) -> np.ndarray:
        """All of a set, (N, H, W). EvaluationError if they are no label maps of this palette, where `strict`."""
        found = [(classes, apart.mean((1, 2))) for classes, apart in map(self.read, maps.batches())]
        away = np.concatenate([apart for _, apart in found]).mean()
        if strict and away > FAR:
            raise EvaluationError(
                f"{maps.files[0].parent}: its pixels lie {away:.0f} levels from the nearest of the {len(self.colours)} "
                f"colours, so these are no label maps of that palette: choose the judge of this label set, "
                f"or give its palette"
            )
        return np.concatenate([classes for classes, _ in found])

    def told(self, maps: ImageSet) -> str:
        """For a person: the colours, how many pixels lie between them, and the commonest of those. One may be a class
        that the palette lacks: no rule tells it from noise and soft edges.
        """
        between, count = [], 0
        for batch in maps.batches():
            some = batch[..., ::EACH]
            away = self.read(some)[1]
            between.append(some.permute(0, 2, 3, 1).numpy()[away > 2 * NEAR])
            count += away.size
        text = f"the colours of {len(self.colours)} classes: {self}"
        if self.ignore:
            text += f"; ignored are {' '.join(map(name_of, self.ignore))}"
        pixels = np.concatenate(between)
        if not len(pixels):
            return text
        common = ", ".join(
            f"{name_of(shade)} ({100 * taken / count:.2g} %)"
            for shade, _, taken in islice(_peaks(*_shades(pixels, CELL), 4 * NEAR), SHOWN)
        )
        return f"{text}; {100 * len(pixels) / count:.2g} % of the pixels lie between them, most often about {common}"


def given_palette(text: str | None) -> Palette | None:
    """Of a text such as [[0,0,0],[255,0,0]]. EvaluationError if it is none."""
    try:
        return Palette(TypeAdapter(Colours).validate_python(parse_yaml(text))) if text else None
    except ValueError as error:
        raise EvaluationError(f"{shown(text)}: no palette; give colours of 0 to 255, as [[0,0,0],[255,0,0]]") from error


def given_ignored(text: str | None) -> tuple[tuple[int, ...], ...]:
    """Of a text such as [[0,0,0]], or [255] for maps of class numbers. EvaluationError for another."""
    try:
        return TypeAdapter(Ignored).validate_python(parse_yaml(text)) if text else ()
    except ValueError as error:
        raise EvaluationError(
            f"{shown(text)}: expected colours to ignore, as [[0,0,0],[111,74,0]], or class numbers, as [255]"
        ) from error


def palette_of(maps: Column, ignore: tuple[tuple[int, ...], ...] = ()) -> Palette:
    """`find_palette` in LOOKED_AT label maps at most, spread over all of them, in whatever form they lie there."""
    return find_palette(_some(maps), ignore)


def share_ignored(maps: Column, palette: Palette) -> float:
    """The share of the pixels of these label maps, LOOKED_AT of them at most, that the palette ignores."""
    some = _some(maps, len(palette.colours[0]))
    found = [palette.read(torch.from_numpy(each.transpose(2, 0, 1))[None])[0] for each in some]
    ignored = sum(int((classes >= len(palette.colours)).sum()) for classes in found)
    return ignored / sum(classes.size for classes in found)


def share_near(maps: Column, colours: tuple[tuple[int, ...], ...]) -> float | None:
    """The share of the pixels of these images, LOOKED_AT of them at most, that have one of the colours, but for noise.

    None if the images have another number of channels.
    """
    near, count = 0, 0
    for pixels in _some(maps):
        if pixels.shape[2] != len(colours[0]):
            return None
        apart = [np.square(pixels.astype(np.int32) - np.array(colour)).sum(2) for colour in colours]
        near, count = near + int((np.min(apart, 0) <= (2 * NEAR) ** 2).sum()), count + apart[0].size
    return near / count


def _some(maps: Column, channels: int | None = None) -> list[np.ndarray]:
    """LOOKED_AT label maps at most, spread over all of them: uint8 (H, W, C), by default of the channels they have."""
    places = np.linspace(0, len(maps) - 1, min(LOOKED_AT, len(maps))).round().astype(int).tolist()
    found: list[Any] = [maps[place] for place in places]
    channels = channels or (maps.channels() if isinstance(maps, Files) else found[0].shape[-1])
    found = [
        image_io.with_channels(each, channels, image_name(maps, at)) for at, each in zip(places, found, strict=True)
    ]
    return [image_io.from_unit(image_io.to_unit(each), np.uint8) for each in found]


def find_palette(maps: Sequence[np.ndarray], ignore: tuple[tuple[int, ...], ...] = ()) -> Palette:
    """The colours of label maps (H, W, C) uint8, most frequent first; noise and soft edges belong to the nearest one.

    Those of `ignore` are no classes; where there is noise, neither is what lies nearer than APART / 2 to one of them.
    Where there are no more than MOST, there is no noise, and they are taken as they are. EvaluationError if there is
    one colour only, or so many that these are pictures and no label maps.
    """
    pixels = np.concatenate([each.reshape(-1, each.shape[-1])[::EACH] for each in maps])
    shades, counts = _shades(pixels, 1)
    noisy, left = len(shades) > MOST, len(pixels)
    if noisy:
        shades, counts = _shades(pixels, CELL)
    chosen: list[tuple[int, ...]] = []
    for shade, count, taken in _peaks(shades, counts, APART if noisy else 1):
        if count <= FEWEST * len(pixels):
            break
        chosen.append(_typical(pixels, shade) if noisy else tuple(map(int, shade)))
        left -= taken
        if len(chosen) > MOST:
            raise EvaluationError(f"more than {MOST} colours: these are pictures, and no label maps")
    if len(chosen) == 1 and left < FEWEST * len(pixels):
        raise EvaluationError("the label maps have one colour only: there is nothing to tell apart")
    if (share := _near(pixels, chosen)) < FEW:
        raise EvaluationError(
            f"{100 * (1 - share):.0f} % of the pixels lie between the colours: these are pictures and no label maps, "
            f"or label maps that were scaled down; where the pictures lie the other way round, change direction"
        )
    if ignore and len(ignore[0]) != len(chosen[0]):
        raise EvaluationError(f"ignored colours of {len(ignore[0])} levels: label maps of {len(chosen[0])} channels")
    least = APART / 2 if noisy else 1.0
    kept = tuple(each for each in chosen if all(math.dist(each, one) >= least for one in ignore))
    if len(kept) < 2:
        raise EvaluationError(
            f"only {len(kept)} colours of the label maps are not ignored: 2 classes at least are required"
        )
    return Palette(kept, ignore)


def _shades(pixels: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The colours of pixels (M, C), to the middle of cells of `width` levels, most frequent first; and how often."""
    whole = (pixels // width).view(f"V{pixels.shape[1]}")  # a pixel as one value: ten times as fast
    found, counts = np.unique(whole, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return found[order].view(np.uint8).reshape(-1, pixels.shape[1]).astype(np.int64) * width + width // 2, counts[order]


def _peaks(shades: np.ndarray, counts: np.ndarray, apart: float) -> Iterator[tuple[np.ndarray, int, int]]:
    """The most frequent shade, then that of those further than `apart` from it, and so on; how often, and with those
    about it.
    """
    while len(shades):
        near = np.linalg.norm(shades - shades[0], axis=1) < apart
        yield shades[0], counts[0], counts[near].sum()
        shades, counts = shades[~near], counts[~near]


def _typical(pixels: np.ndarray, shade: np.ndarray) -> tuple[int, ...]:
    """The median of the pixels about a shade, then of those about that: noise may lie on both sides of its edge."""
    middle, pixels = shade, pixels[(np.abs(pixels - shade.astype(np.int16)) <= 4 * NEAR).all(1)]
    for _ in range(2):
        inside = pixels[(np.abs(pixels - middle) <= 2 * NEAR).all(1)]
        middle = np.median(inside, axis=0).round() if len(inside) else middle
    return tuple(map(int, middle))


def _near(pixels: np.ndarray, colours: Sequence[tuple[int, ...]]) -> float:
    """The share of pixels near their colour; without those of the first one, which may be the white round a picture."""
    if len(colours) < 2:
        return 0.0
    some = pixels[:: 1 + len(pixels) // 200_000]
    apart = np.stack([np.linalg.norm(some - np.array(colour), axis=1) for colour in colours], 1)
    others = apart[apart.argmin(1) > 0].min(1)
    return float(np.mean(others < NEAR)) if len(others) else 0.0
