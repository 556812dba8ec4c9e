"""Previews: translations of held-out images as a sample grid, and their error where target images are known."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diptych.contract import Batch, Control, Method, Route
from diptych.data.images.encoding import PLAIN, Encoding
from diptych.data.tasks.task import Task
from diptych.data.tasks.tensors import finished_batch, shown_sources
from diptych.runs.sample_grid import grid, stack_vertically, viewable

ROWS = 8  # rows of a grid


@dataclass(frozen=True)
class Preview:
    """Held-out images (N, C, H, W) by batch entry.

    `aligned`: the same index in source and target is the same scene.
    `encodings`: what the channels of an entry mean, where images are not grey or RGB.
    `task`: what computed sources and targets from photographs.
    """

    batch: Batch
    aligned: bool
    encodings: Mapping[str, Encoding] = field(default_factory=dict)
    task: Task | None = None

    def render(self, method: Method, device: torch.device) -> tuple[Image.Image, dict[str, float]]:
        """Return the sample grid and the errors: L1 (range -1 to 1) by route, and `Method.validation_errors`."""
        columns: list[np.ndarray] = []
        used: list[Tensor] = []  # the entries of the batch that have a column
        errors = {}
        for route in method.routes:
            translation = translate_route(method, self.batch, route, device)
            source, target = self.batch[route.source], route.target_in(self.batch, self.aligned)
            if not any(source is entry for entry in used):
                columns.append(self._column(shown_sources(self.task, source), route.source))
            columns.append(self._column(finished_batch(self.task, translation, source), route.target))
            used.append(source)
            if target is not None:
                columns.append(self._column(finished_batch(self.task, target, source), route.target))
                used.append(target)
                errors[route_name(route)] = float((translation - target).abs().mean())
        if method.traits.unconditional:
            columns += sample_columns(method)
        if not columns:
            columns = [self._column(images, name) for name, images in self.batch.items() if images.dim() == 4]
        image = self._with_references(grid([column[:ROWS] for column in columns]), method, device)
        return image, {**errors, **method.validation_errors(self.batch)}

    def _column(self, images: Tensor, entry: str) -> np.ndarray:
        """Return the first images (N, C, H, W) of a batch entry as grey or RGB."""
        return viewable(images[:ROWS].numpy(), self.encodings.get(entry, PLAIN))

    def _with_references(self, image: Image.Image, method: Method, device: torch.device) -> Image.Image:
        """Append a matrix of sources (left) and references (top) below, if the method takes reference images."""
        control = next((control for control in method.controls if control.image), None)
        if control is None:
            return image
        route = method.routes[0]
        sources = self._column(self.batch[route.source], route.source)
        corner = np.ones_like(sources[:1])
        columns = [np.concatenate([corner, sources])]
        for index in range(min(ROWS, len(self.batch[control.entry(route)]))):
            columns.append(self._reference_column(method, route, control, index, device))
        return stack_vertically(image, grid(columns))

    def _reference_column(
        self, method: Method, route: Route, control: Control, index: int, device: torch.device
    ) -> np.ndarray:
        """Return a reference image and, below it, the sources translated in its style."""
        reference = self.batch[control.entry(route)][index : index + 1]
        controls = {
            **route.controls,
            **method.reference_controls(self.batch, index),
            control.name: reference.to(device),
        }
        guided = Route(route.source, route.target, controls)
        translation = translate_route(method, {route.source: self.batch[route.source][:ROWS]}, guided, device)
        return np.concatenate([self._column(reference, control.entry(route)), self._column(translation, route.target)])


def sample_columns(method: Method) -> list[np.ndarray]:
    """Return columns of unconditional samples, with seed 0."""
    return [part.numpy() for part in method.sample(range(ROWS**2)).float().cpu().split(ROWS)]


def route_name(route: Route) -> str:
    """Return the name of a route in the log: `source->target`, or `source->CONTROLS` among many domains."""
    controls = " ".join(map(str, route.controls.values()))
    return f"{route.source}->{route.target if route.source != route.target else controls}"


def translate_route(method: Method, batch: Batch, route: Route, device: torch.device, size: int = 8) -> Tensor:
    """Return the translations of a route's sources, on the CPU in float32.

    They are translated `size` at a time, or one by one where the method needs the label of each source.
    """
    images, labels = batch[route.source], batch.get(next(iter(method.label_fields()), ""))
    source_controls = [method.source_controls(label, route) for label in labels] if labels is not None else []
    if any(source_controls):
        parts = [(image[None], controls) for image, controls in zip(images, source_controls, strict=True)]
    else:
        parts = [(part, {}) for part in images.split(size)]
    translations = [method.translate(part.to(device), **{**route.controls, **controls}) for part, controls in parts]
    return torch.cat([part.float().cpu() for part in translations])


def identity_error(batch: Batch, route: Route) -> float | None:
    """Return the L1 error of the identity baseline, which returns its input; None if the shapes differ."""
    source, target = batch[route.source], route.target_in(batch, aligned=True)
    if target is None or source.shape != target.shape:
        return None
    return float((source - target).abs().mean())
