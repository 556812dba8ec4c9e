"""Previews: held-out images through `translate`, as a grid to look at and as an error where the truth is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from diptych.contract import Batch, Method, Route
from diptych.data.images import image_io as image
from diptych.data.images.class_maps import colours_of
from diptych.data.images.encoding import PLAIN, Encoding

SHOWN = 8  # rows of a grid
GAP = 4  # white pixels between pictures


@dataclass(frozen=True)
class Preview:
    """Held-out images (N, C, H, W) by name; `aligned` if the same row of each is the same scene.

    `encodings` say what the channels of an entry are, where they are not grey or RGB.
    """

    batch: Batch
    aligned: bool
    encodings: Mapping[str, Encoding] = field(default_factory=dict)

    def render(self, method: Method, device: torch.device) -> tuple[Image.Image, dict[str, float]]:
        """The grid, and mistakes: by route the mean absolute error (range -1..1) where the truth is known."""
        columns: list[Tensor] = []
        known: list[Tensor] = []  # of the batch, those that have a column
        errors = {}
        for route in method.routes:
            made = translated(method, self.batch, route, device)
            source, truth = self.batch[route.source], route.target_in(self.batch, self.aligned)
            if not any(source is each for each in known):
                columns.append(self.viewable(source, route.source))
            columns.append(self.viewable(made, route.target))
            known.append(source)
            if truth is not None:
                columns.append(self.viewable(truth, route.target))
                known.append(truth)
                errors[called(route)] = float((made - truth).abs().mean())
        columns += drawn(method) if method.traits.unconditional else []
        columns = columns or [self.viewable(each, name) for name, each in self.batch.items() if each.dim() == 4]
        sheet = grid([column[:SHOWN] for column in columns])
        return self.with_references(sheet, method, device), {**errors, **method.validation_errors(self.batch)}

    def viewable(self, x: Tensor, entry: str) -> Tensor:
        """Images of a batch entry (N, C, H, W) as `viewable` does."""
        return viewable(x[:SHOWN], self.encodings.get(entry, PLAIN))

    def with_references(self, sheet: Image.Image, method: Method, device: torch.device) -> Image.Image:
        """Below the sheet a matrix: references above, sources to the left, where the method takes a reference."""
        control = next((control for control in method.controls if control.image), None)
        if control is None:
            return sheet
        route = method.routes[0]
        references = self.batch[control.entry(route)]
        sources, chosen = self.batch[route.source][:SHOWN], list(range(min(SHOWN, len(references))))
        viewable = self.viewable(sources, route.source)
        columns = [torch.cat([torch.ones_like(viewable[:1]), viewable])]
        for at in chosen:
            controls = {
                **route.controls,
                **method.reference_controls(self.batch, at),
                control.name: references[at : at + 1].to(device),
            }
            shown = Route(route.source, route.target, controls)
            made = translated(method, {route.source: sources}, shown, device)
            tiles = (references[at : at + 1], control.entry(route)), (made, route.target)
            columns.append(torch.cat([self.viewable(*tile) for tile in tiles]))
        return stacked(sheet, grid(columns))


def viewable(x: Tensor, encoding: Encoding) -> Tensor:
    """(N, C, H, W) in [-1, 1] as grey or RGB: a colour for each class of a label map, alpha over white.

    The class of a pixel is the largest channel; black where no channel is above -1. Others are as they are.
    """
    if encoding.num_classes:
        colours = torch.from_numpy(colours_of(encoding.num_classes)).to(x) / 127.5 - 1
        most, classes = x.max(1)
        return torch.where((most > -1)[..., None], colours[classes], -1.0).permute(0, 3, 1, 2)
    if encoding.alpha:
        opaque = (x[:, 3:] + 1) / 2
        return x[:, :3] * opaque + 1 - opaque
    return x


def drawn(method: Method) -> list[Tensor]:
    """Columns of images out of noise, of seed 0."""
    return list(method.sample(range(SHOWN**2)).float().cpu().split(SHOWN))


def called(route: Route) -> str:
    """Its name where errors are logged: source and target, or where one source has many, what is chosen."""
    chosen = " ".join(map(str, route.controls.values()))
    return f"{route.source}->{route.target if route.source != route.target else chosen}"


def translated(method: Method, batch: Batch, route: Route, device: torch.device, size: int = 8) -> Tensor:
    """The sources of a route, `size` at a time, back on the CPU in float32.

    One at a time, where the method must be told what each of them is.
    """
    images, label = batch[route.source], batch.get(next(iter(method.label_fields()), ""))
    told = [method.source_controls(row, route) for row in label] if label is not None else []
    if any(told):
        parts = [(image[None], given) for image, given in zip(images, told, strict=True)]
    else:
        parts = [(part, {}) for part in images.split(size)]
    made = [method.translate(part.to(device), **{**route.controls, **given}) for part, given in parts]
    return torch.cat([part.float().cpu() for part in made])


def identity_error(batch: Batch, route: Route) -> float | None:
    """The error of giving the input back, which a figure must be held against. None if the shapes differ."""
    source, target = batch[route.source], route.target_in(batch, aligned=True)
    return float((source - target).abs().mean()) if target is not None and source.shape == target.shape else None


def grid(columns: Sequence[Tensor]) -> Image.Image:
    """One picture of columns of images, each (N, C, H, W) in [-1, 1], a row for each sample.

    Images that are smaller than others are enlarged to them, as nothing but a bicubic filter would.
    """
    most = max(column.shape[-2] for column in columns)
    columns = [
        column
        if column.shape[-2] == most
        else F.interpolate(column, scale_factor=most / column.shape[-2], mode="bicubic")
        for column in columns
    ]
    rows = [np.concatenate([_tile(column[row]) for column in columns], 1) for row in range(min(map(len, columns)))]
    return Image.fromarray(np.concatenate(rows)[:-GAP, :-GAP])


def stacked(above: Image.Image, below: Image.Image) -> Image.Image:
    """One sheet over the other, on white."""
    sheet = Image.new("RGB", (max(above.width, below.width), above.height + GAP + below.height), "white")
    sheet.paste(above, (0, 0))
    sheet.paste(below, (0, above.height + GAP))
    return sheet


def _tile(picture: Tensor) -> np.ndarray:
    """(C, H, W) in [-1, 1] as RGB uint8 with a white gap; of other channel counts than 1 and 3 the first is shown."""
    shown = picture if len(picture) == 3 else picture[:1].expand(3, -1, -1)
    pixels = image.from_unit(shown.permute(1, 2, 0).clamp(-1, 1).numpy(), np.uint8)
    return np.pad(pixels, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)
