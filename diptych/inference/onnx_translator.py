"""Translation of images with an exported model, computed by onnxruntime: without torch.

import diptych
translator = diptych.load("model.onnx")
translator("label.png").save("photo.png")
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from diptych.contract import Control, Route, Traits
from diptych.data.image_format import TrainingImages
from diptych.data.images.image_io import resize_unit
from diptych.errors import CheckpointError, ConfigError, ImageError, printable, shown
from diptych.inference.image_translator import NOT_FINITE, Controls, ImageTranslator
from diptych.inference.onnx_graph import OnnxGraph, check_file
from diptych.inference.onnx_inputs import Inputs, OnnxInputs
from diptych.inference.onnx_metadata import OnnxCompanion, OnnxControl, OnnxMetadata, parse_metadata
from diptych.inference.preprocessing import DEFAULT, Options
from diptych.system.hashes import sha256_of

TYPES: Mapping[str, type] = {"choice": str, "text": str, "int": int, "float": float}  # of values, by kind of control


@dataclass(frozen=True)
class OnnxModel:
    """The controls, routes, traits and channels of an exported model."""

    metadata: OnnxMetadata
    controls: tuple[Control, ...]
    routes: tuple[Route, ...]
    traits: Traits
    data_defaults: Mapping[str, Any]

    def channels(self) -> Mapping[str, int]:
        return self.metadata.channels

    def image_size(self) -> int | None:
        return self.metadata.image_size


def model_of(data: OnnxMetadata) -> OnnxModel:
    """Return the model that the metadata of a file describes. Raises ValueError if it contradicts itself."""
    controls = tuple(map(_control, data.controls))
    routes = tuple(Route(route.source, route.target, route.controls) for route in data.routes)
    generates = not routes or data.companion("generate") is not None
    entries = {route.source for route in routes} | {route.target for route in routes}
    entries |= {control.image for control in controls if control.image}
    if missing := entries - data.channels.keys() or (not data.channels and {"images"}):
        raise ValueError(f"it gives no number of channels for {', '.join(sorted(missing))}")
    graphs = (data.inputs, *(companion.inputs for companion in data.companions))
    inputs = {each.name for each in chain.from_iterable(graphs)}
    needs_size = data.fixed_size or "reference" in inputs
    if needs_size and data.image_size is None:
        raise ValueError("it gives no image_size")
    if inputs & {"labels", "domain"} and not data.labels:
        raise ValueError("it gives no labels")
    if data.latent is None and ("latent" in inputs or ("style" in inputs and not data.companion("mapping_network"))):
        raise ValueError("it does not describe latent codes")
    traits = Traits(data.size_multiple, data.upscale_factor, data.fixed_size, generates)
    return OnnxModel(data, controls, routes, traits, {"interpolation": data.interpolation})


def _control(control: OnnxControl) -> Control:
    """Return a control; the type of its default is that of its values. Raises ValueError."""
    if control.kind == "image":
        return Control(control.name, control.help, None, image=control.entry)
    kind = TYPES[control.kind]
    return Control(control.name, control.help, kind(control.default or kind()), control.choices)


@dataclass
class OnnxTranslator(ImageTranslator):
    """Translates images with an exported model as `Translator` does with the run that it was exported from.

    It takes files, PIL images and arrays, and no tensors. Controls that were fixed at export are in `metadata.fixed`.
    """

    path: Path
    metadata: OnnxMetadata = field(repr=False)
    name: str
    device: str = "auto"
    images: TrainingImages | None = field(init=False, repr=False)  # how the training images were stored, if known
    options: Options = DEFAULT
    _warned: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        """Load the network of the file. Raises CheckpointError or ConfigError."""
        self.images = self.metadata.images
        try:
            self._model = model_of(self.metadata)
            self.inputs = OnnxInputs(self.metadata, self._run_companion)
        except (ValueError, ValidationError) as error:
            raise CheckpointError(
                f"{self.path}: its metadata is damaged ({printable(str(error)[:300])}); export the model again"
            ) from error
        self._graph = OnnxGraph(self.path, self.metadata.inputs, self.device)
        self._companions: dict[str, OnnxGraph] = {}  # by role, loaded when they are first needed

    @property
    def model(self) -> OnnxModel:
        return self._model

    @property
    def method_name(self) -> str:
        return self.metadata.method

    def _translate_unit(self, x: np.ndarray, choices: Sequence[Controls], label: str) -> list[np.ndarray]:
        return [self.translate_batch(x[None], label, **controls)[0] for controls in choices]

    def translate_batch(self, x: np.ndarray, label: str = "batch", **controls: Any) -> np.ndarray:
        controls = self._open(controls)
        if self.metadata.fixed_size:
            side, is_map = self.metadata.image_size or 0, self.adapter(controls).source_encoding.num_classes is not None
            x = np.stack([resize_unit(each, side, side, is_map) for each in x])
        inputs = self.inputs.encode(self.metadata.inputs, controls)
        repeated = {name: np.repeat(value, len(x), 0) for name, value in inputs.items()}
        translations = self._run(self._graph, {"image": x, **repeated}, label)
        factor, channels = self.metadata.upscale_factor, self.model.channels()[self._route(controls).target]
        if translations.shape != (len(x), channels, factor * x.shape[2], factor * x.shape[3]):
            raise ImageError(
                f"{label}: {self.path} returns an image of shape {translations.shape[1:]} from {x.shape[1:]}; its "
                f"metadata says {channels} channels and {factor} times the size"
            )
        return translations

    def _sample_unit(self, numbers: range, seed: int, controls: Controls) -> np.ndarray:
        latents = self.inputs.latents(numbers, seed)
        companion = self.metadata.companion("generate")
        graph = self._companion(companion) if companion else self._graph
        wanted = companion.inputs if companion else self.metadata.inputs
        inputs = self.inputs.encode(wanted, self._open(controls))
        repeated = {name: np.repeat(value, len(numbers), 0) for name, value in inputs.items()}
        return self._run(graph, {**repeated, "latent": latents}, self.name)

    def _run(self, graph: OnnxGraph, inputs: Inputs, label: str) -> np.ndarray:
        """Return images (N, C, H, W) in [-1, 1]. Raises ImageError."""
        images = graph(inputs, label)
        if images.ndim != 4 or images.dtype != np.float32:
            raise ImageError(f"{label}: {graph.path} returns no images, but {images.dtype} of shape {images.shape}")
        if not np.isfinite(images).all():
            raise ImageError(NOT_FINITE.format(label, self.name))
        return images.clip(-1, 1)

    def _run_companion(self, companion: OnnxCompanion, inputs: Inputs) -> np.ndarray:
        return self._companion(companion)(inputs, companion.role)

    def _companion(self, companion: OnnxCompanion) -> OnnxGraph:
        """Return the network of a file beside the model. Raises CheckpointError if it is not the exported one."""
        if companion.role not in self._companions:
            path = self.path.with_name(companion.file)
            check_file(path)
            if sha256_of(path) != companion.sha256:
                raise CheckpointError(f"{path}: is not the file that was exported with {self.path}: copy both again")
            self._companions[companion.role] = OnnxGraph(path, companion.inputs, self.device)
        return self._companions[companion.role]

    def parse_controls(self, values: Mapping[str, str]) -> dict[str, Any]:
        return super().parse_controls(self._open(values))

    def _check(self, controls: Controls) -> None:
        super()._check(self._open(controls))

    def _open(self, controls: Controls) -> dict[str, Any]:
        """Return the controls without those that were fixed at export. Raises ConfigError for another value of one."""
        for name, value in controls.items():
            fixed = self.metadata.fixed.get(name, value)
            if str(value) != str(fixed):
                raise ConfigError(
                    f"{name}={shown(value)}: {self.path} was exported with {name}={shown(fixed)}; for another value "
                    f"use the run or model folder, or export it again with that value if the method allows it"
                )
        return {name: value for name, value in controls.items() if name not in self.metadata.fixed}


def load_onnx(path: Path, device: str = "auto") -> OnnxTranslator:
    """Return a translator from a file of `diptych export`. Raises CheckpointError or ConfigError."""
    metadata = parse_metadata(check_file(path), str(path))
    if metadata.caution:
        warnings.warn(f"{path}: {printable(metadata.caution[:500])}", stacklevel=3)
    return OnnxTranslator(path, metadata, printable(metadata.name), device)
