"""Label maps: pictures in which the colour of each pixel says its class."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diptych.contract import Judge
from diptych.errors import EvaluationError
from diptych.evaluate.sets import Pictures

COLOUR = re.compile("#(?:[0-9a-f]{2})+")  # how a judge calls a class that it paints
APART = 48.0  # colours nearer than this, of 441 from black to white, are one class and its noise
FEWEST = 0.002  # of all pixels: what is rarer is noise
MOST = 64  # classes
NEAR = 6.0  # what JPEG adds to a level, and a few times the noise of a scanner
FEW = 0.35  # of the pixels that lie so near: label maps have 0.45 and more, photographs 0.3 and less
FAR = 32.0  # mean distance to the palette from which on pictures are no label maps of it


@dataclass(frozen=True)
class Palette:
    """The colour of each class, 0 to 255 in each channel."""

    colours: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, judge: Judge) -> "Palette":
        """What a judge paints with. EvaluationError if it paints no label maps."""
        names = judge.classes()
        if not all(COLOUR.fullmatch(name) for name in names):
            raise EvaluationError(
                f"this judge tells whole pictures apart ({', '.join(names[:3])}, ...), but one is needed that paints "
                f"label maps: diptych judge train segmenter"
            )
        return cls(tuple(tuple(bytes.fromhex(name[1:])) for name in names))

    def read(self, maps: Tensor) -> tuple[np.ndarray, float]:
        """uint8 (N, C, H, W) to classes (N, H, W) by the nearest colour, and the mean distance to it."""
        if maps.shape[1] != len(self.colours[0]):
            raise EvaluationError(
                f"label maps of {maps.shape[1]} channels do not go with colours of {len(self.colours[0])}"
            )
        apart = torch.stack(
            [(maps.float() - torch.tensor(colour)[:, None, None]).square().sum(1) for colour in self.colours], 1
        )
        nearest, classes = apart.min(1)
        return classes.to(torch.uint8).numpy(), float(nearest.sqrt().mean())

    def read_all(self, maps: Pictures, strict: bool = True) -> np.ndarray:
        """All of a set, (N, H, W). EvaluationError if they are no label maps of this palette, where `strict`."""
        found = [self.read(batch) for batch in maps.batches()]
        away = float(np.mean([distance for _, distance in found]))
        if strict and away > FAR:
            raise EvaluationError(
                f"{maps.files[0].parent}: its pixels lie {away:.0f} levels from the nearest of the {len(self.colours)} "
                f"colours, so these are no label maps of that palette: choose the judge of this label set"
            )
        return np.concatenate([classes for classes, _ in found])


def find_palette(maps: Sequence[np.ndarray]) -> Palette:
    """The colours of label maps (H, W, C) uint8, most frequent first; noise and soft edges belong to the nearest one.

    EvaluationError if there is one colour only, or so many that these are pictures and no label maps.
    """
    pixels = np.concatenate([each.reshape(-1, each.shape[-1])[::7] for each in maps]).astype(np.int16)
    whole = (pixels // 8).astype(np.uint8).view(f"V{pixels.shape[1]}")  # a pixel as one value: ten times as fast
    found, counts = np.unique(whole, return_counts=True)
    shades = found.view(np.uint8).reshape(-1, pixels.shape[1]).astype(np.int64)
    order = np.argsort(-counts, kind="stable")
    shades, counts, left = shades[order] * 8 + 4, counts[order], counts.sum()
    chosen: list[tuple[int, ...]] = []
    while len(shades) and counts.max() > FEWEST * left:
        place = int(counts.argmax())
        near = np.linalg.norm(shades - shades[place], axis=1) < APART
        if counts[near].sum() < FEWEST * left:
            break
        chosen.append(_typical(pixels, shades[place]))
        shades, counts = shades[~near], counts[~near]
        if len(chosen) > MOST:
            raise EvaluationError(f"more than {MOST} colours: these are pictures, and no label maps")
    if len(chosen) == 1 and counts.sum() < FEWEST * left:
        raise EvaluationError("the label maps have one colour only: there is nothing to tell apart")
    if (share := _near(pixels, chosen)) < FEW:
        raise EvaluationError(
            f"{100 * (1 - share):.0f} % of the pixels lie between the colours: these are pictures and no label maps, "
            f"or label maps that were scaled down; where the pictures lie the other way round, change direction"
        )
    return Palette(tuple(chosen))


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
