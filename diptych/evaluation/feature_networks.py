"""Frozen networks for perceptual losses: VGG of torchvision, or a trained evaluator network.

network, digest = load_feature_network("vgg19", torch.device("cpu"))
network(images)     # (N, C, H, W) in [-1, 1] -> five feature maps, the finest first
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from diptych.contract import Evaluator, FeatureNetwork, Method, MethodConfig
from diptych.errors import ConfigError, EvaluationError, nearest, shown
from diptych.evaluation.metrics.extractors import MEAN, STD, digest_of
from diptych.importers import pretrained
from diptych.inference.load import load
from diptych.settings.validate import checked

NONE = "none"
MAX_MAPS = 100  # feature maps that a method may use
VGG: Mapping[str, tuple[pretrained.Weights, Callable[[Any], nn.Sequential]]] = MappingProxyType(
    {
        "vgg16": (pretrained.VGG16, lambda models: models.vgg16().features),
        "vgg19": (pretrained.VGG19, lambda models: models.vgg19().features),
    }
)


class VggFeatures(nn.Module):
    """VGG (Simonyan and Zisserman 2015): the feature maps before each pooling, at 1, 1/2 .. 1/16 of the image size."""

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return five maps of images (N, 3, H, W) or (N, 1, H, W) in [-1, 1]."""
        mean, std = x.new_tensor(MEAN)[:, None, None], x.new_tensor(STD)[:, None, None]
        x = ((x + 1) / 2 - mean) / std
        maps = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
            x = layer(x)
        return maps


class AnyFeatures(nn.Module):
    """A stand-in for a network that is not loaded: returns as many maps as any setting may use."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x] * MAX_MAPS


class EvaluatorFeatures(nn.Module):
    """The feature maps of an evaluator network."""

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__()
        self.evaluator = evaluator

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.evaluator.maps(x)


def feature_networks_of(
    cls: type[Method], config: MethodConfig, device: torch.device
) -> tuple[dict[str, FeatureNetwork], dict[str, str]]:
    """Return the feature networks that a method's settings name, and the digest of their weights by setting.

    ConfigError or CheckpointError if one cannot be loaded.
    """
    networks: dict[str, FeatureNetwork] = {}
    digests: dict[str, str] = {}
    for name, setting in cls.feature_networks.items():
        spec = str(config.model_dump()[setting])
        if spec == NONE:
            continue
        try:
            networks[name], digests[setting] = load_feature_network(spec, device)
        except EvaluationError as error:
            advice = _advice_to_omit(cls, config, setting)
            raise ConfigError(f"{setting}={shown(spec)}: {error}; {advice}") from error
    return networks, digests


def _advice_to_omit(cls: type[Method], config: MethodConfig, setting: str) -> str:
    """Return the effect of `setting=none`: training without the network, or the error of the settings."""
    try:
        checked(cls.Config, {**config.model_dump(), setting: NONE}, cls.__name__)
    except ConfigError as error:
        return f"{setting}=none: {error}"
    return f"{setting}=none trains without it"


def load_feature_network(spec: str, device: torch.device) -> tuple[FeatureNetwork, str]:
    """Return the frozen network `spec` and the digest of its weights. EvaluationError, CheckpointError."""
    name, _, file = spec.partition(":")
    folder = Path(os.path.expanduser(spec))
    if name in VGG:
        network, digest = _vgg(name, Path(file) if file else None)
    elif any(os.path.isfile(folder / config) for config in ("config.yaml", "config.json")):
        evaluator = load(folder, device="cpu").method
        if not isinstance(evaluator, Evaluator):
            raise EvaluationError("not an evaluator network (a classifier or a segmenter), so it has no feature maps")
        network, digest = EvaluatorFeatures(evaluator), digest_of(evaluator.state_dict())
    else:
        raise EvaluationError(
            f"unknown network {shown(spec)}{nearest(spec, VGG)}; choose one of {', '.join(VGG)}, each also as "
            f"NAME:FILE with a file of its weights, or the folder of an evaluator network"
        )
    return network.to(device).requires_grad_(False).eval(), digest


def _vgg(name: str, file: Path | None) -> tuple[FeatureNetwork, str]:
    """Return VGG with torchvision's ImageNet weights, and their digest."""
    weights, features = VGG[name]
    state, digest, path = pretrained.load(weights, file)
    with torch.device("meta"):
        network = VggFeatures(features(pretrained.models()))
    pretrained.fill(network, {key: value for key, value in state.items() if key.startswith("features.")}, str(path))
    return network, digest
