"""What controls become: the inputs of an exported network beside the image, computed in NumPy."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from diptych.contract import Labels
from diptych.errors import ConfigError
from diptych.inference.onnx_metadata import OnnxCompanion, OnnxInput, OnnxMetadata
from diptych.methods.label_controls import wanted
from diptych.networks.latents import code_of_controls, numbered_codes
from diptych.seeds import torch_normal

Controls = Mapping[str, Any]
Inputs = dict[str, np.ndarray]
RunCompanion = Callable[[OnnxCompanion, Inputs], np.ndarray]


class OnnxInputs:
    """Encodes controls as `Method.encode_controls` does. `run` returns the output of a companion for its inputs."""

    def __init__(self, metadata: OnnxMetadata, run: RunCompanion) -> None:
        self.metadata, self.run = metadata, run
        self.labels = tuple(Labels.model_validate(labels.model_dump()) for labels in metadata.labels)

    def encode(self, inputs: Sequence[OnnxInput], controls: Controls) -> Inputs:
        """Return the arrays of all inputs but `image` for these controls, each for a batch of 1. Raises ConfigError."""
        encoders = {
            "latent": self._latent,
            "style": self._style,
            "labels": self._labels,
            "domain": self._domain,
            "reference": self._reference,
        }
        return {each.name: encoders[each.name](controls) for each in inputs if each.name != "image"}

    def latents(self, numbers: range, seed: int) -> np.ndarray:
        """Return the latent codes (N, D) of generated images of these numbers."""
        assert self.metadata.latent is not None
        return numbered_codes(self.metadata.latent.prior, numbers, self.metadata.latent.dim, seed)

    def codes_of_seeds(self, count: int) -> np.ndarray:
        """Return the latent codes (count, D) of the seeds from 0 on, as translations use them."""
        return np.concatenate([self._latent({"seed": seed}) for seed in range(count)])

    def of_domains(self, domains: Sequence[str]) -> dict[str, dict[str, list[float]]]:
        """Return the inputs `labels` and `domain` of each domain, as lists, if the model has labels."""
        if not self.labels:
            return {}
        encoders = {"labels": self._labels, "domain": self._domain}
        return {
            name: {key: encode({"domain": name})[0].reshape(-1).tolist() for key, encode in encoders.items()}
            for name in domains
        }

    def _latent(self, controls: Controls) -> np.ndarray:
        """Return the latent code (1, D) of the seed."""
        latent, seed = self.metadata.latent, int(controls.get("seed", 0))
        assert latent is not None
        if latent.generator == "torch":
            return torch_normal(seed, latent.dim)[None]
        return numbered_codes(latent.prior, range(seed, seed + 1), latent.dim, 0)

    def _style(self, controls: Controls) -> np.ndarray:
        """Return the style (1, S) of the seed or reference image, interpolated to a second one by `mix`."""

        def style(seed: int, reference: np.ndarray | None) -> np.ndarray:
            role = "mapping_network" if reference is None else "style_encoder"
            one = {**controls, "seed": seed, "reference": reference}
            companion = self.metadata.companion(role)
            return self.run(companion, self.encode(companion.inputs, one)) if companion else self._latent(one)

        return code_of_controls(controls, style)

    def _reference(self, controls: Controls) -> np.ndarray:
        """Return the reference image (1, C, size, size)."""
        images, side = controls.get("reference"), self.metadata.image_size
        if images is None:
            raise ConfigError(f"{self.metadata.name} needs a reference image")
        if len(images) != 1 or images.shape[-2:] != (side, side):
            raise ConfigError(f"reference: expected an array (1, C, {side}, {side}), got {images.shape}")
        return np.asarray(images, np.float32)

    def _labels(self, controls: Controls) -> np.ndarray:
        """Return the wanted labels (1, K) of all data sets, then which data set they are of if there are several."""
        dataset, names = self._wanted(controls)
        known = [(index, name) for index, labels in enumerate(self.labels) for name in labels.names]
        values = [float(index == dataset and name in names) for index, name in known]
        is_of = [float(index == dataset) for index in range(len(self.labels))] if len(self.labels) > 1 else []
        return np.array([values + is_of], np.float32)

    def _domain(self, controls: Controls) -> np.ndarray:
        """Return the index (1,) of the wanted class; of an attribute 0 without it, 1 with it."""
        dataset, names = self._wanted(controls)
        labels = self.labels[dataset]
        has = [name in names for name in labels.names]
        return np.array([has.index(True) if labels.kind == "class" else int(has[0])], np.int64)

    def _wanted(self, controls: Controls) -> tuple[int, set[str]]:
        """Return the index of the data set of these controls, and the wanted labels. Raises ConfigError."""
        domain, has, flip = (str(controls.get(name, "")) for name in ("domain", "has", "flip"))
        return wanted(self.labels, domain, has, flip)
