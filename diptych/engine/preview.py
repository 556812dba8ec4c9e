"""Previews: held-out images through `translate`, as a grid to look at and as an error where the truth is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diptych.contract import Batch, Method, Route
from diptych.data import image

SHOWN = 8  # rows of a grid
GAP = 4  # white pixels between pictures


@dataclass(frozen=True)
class Preview:
    """Held-out images (N, C, H, W) by name; `aligned` if the same row of each is the same scene."""

    batch: Batch
    aligned: bool

    def look(self, method: Method, device: torch.device) -> tuple[Image.Image, dict[str, float]]:
        """The grid, and mistakes: by route the mean absolute error (range -1..1) where the truth is known."""
        columns: list[Tensor] = []
        errors = {}
        for route in method.routes:
            made = translated(method, self.batch[route.source], route, device)
            columns += [self.batch[route.source], made]
            if self.aligned:
                columns.append(self.batch[route.target])
                errors[f"{route.source}->{route.target}"] = float((made - self.batch[route.target]).abs().mean())
        columns = columns or [each for each in self.batch.values() if each.dim() == 4]
        return grid([column[:SHOWN] for column in columns]), {**errors, **method.mistakes(self.batch)}


def translated(method: Method, images: Tensor, route: Route, device: torch.device, size: int = 8) -> Tensor:
    """Images through one route, `size` at a time, back on the CPU in float32."""
    made = [method.translate(part.to(device), **route.controls) for part in images.split(size)]
    return torch.cat([part.float().cpu() for part in made])


def doing_nothing(batch: Batch, route: Route) -> float | None:
    """The error of giving the input back, which a figure must be held against. None if the shapes differ."""
    source, target = batch[route.source], batch[route.target]
    return float((source - target).abs().mean()) if source.shape == target.shape else None


def grid(columns: Sequence[Tensor]) -> Image.Image:
    """One picture of columns of images, each (N, C, H, W) in [-1, 1], a row for each sample."""
    rows = [np.concatenate([_tile(column[row]) for column in columns], 1) for row in range(min(map(len, columns)))]
    return Image.fromarray(np.concatenate(rows)[:-GAP, :-GAP])


def _tile(picture: Tensor) -> np.ndarray:
    """(C, H, W) in [-1, 1] as RGB uint8 with a white gap; of other channel counts than 1 and 3 the first is shown."""
    shown = picture if len(picture) == 3 else picture[:1].expand(3, -1, -1)
    pixels = image.from_unit(shown.permute(1, 2, 0).clamp(-1, 1).numpy(), np.uint8)
    return np.pad(pixels, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)
