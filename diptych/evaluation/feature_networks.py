"""Trained networks that losses look through: VGG of torchvision, or a judge. They are frozen, and lent to a method.

see, digest = sight("vgg19", torch.device("cpu"))
see(images)     # (N, C, H, W) in [-1, 1] to five maps, the finest first
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
from diptych.evaluation.metrics.extractors import DEVIATION, MEAN, digest_of
from diptych.importers import pretrained
from diptych.inference.load import load
from diptych.settings.validate import checked

NONE = "none"
MOST = 100  # maps that a method may look at
VGG: Mapping[str, tuple[pretrained.Weights, Callable[[Any], nn.Sequential]]] = MappingProxyType(
    {
        "vgg16": (pretrained.VGG16, lambda models: models.vgg16().features),
        "vgg19": (pretrained.VGG19, lambda models: models.vgg19().features),
    }
)


class Maps(nn.Module):
    """VGG (Simonyan and Zisserman 2015): what it sees before each of its poolings, at 1, 1/2 .. 1/16 of the size."""

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) or (N, 1, H, W) in [-1, 1]."""
        mean, deviation = (x.new_tensor(each)[:, None, None] for each in (MEAN, DEVIATION))
        x, found = ((x + 1) / 2 - mean) / deviation, []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                found.append(x)
            x = layer(x)
        return found


class AnyFeatures(nn.Module):
    """In place of a network that is not at hand: as many maps as any setting may ask for."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x] * MOST


class Lent(nn.Module):
    """The maps of a judge."""

    def __init__(self, judge: Evaluator) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.judge.maps(x)


def feature_networks_of(
    cls: type[Method], config: MethodConfig, device: torch.device
) -> tuple[dict[str, FeatureNetwork], dict[str, str]]:
    """The networks that a method's settings name, on this device, and by field the digests of their weights.

    ConfigError, CheckpointError where one cannot be had.
    """
    found, digests = {}, {}
    for name, field in cls.feature_network_fields().items():
        spec = str(config.model_dump()[field])
        if spec != NONE:
            try:
                found[name], digests[field] = sight(spec, device)
            except EvaluationError as error:
                raise ConfigError(f"{field}={shown(spec)}: {error}; {_without(cls, config, field)}") from error
    return found, digests


def _without(cls: type[Method], config: MethodConfig, field: str) -> str:
    """What setting the field to none leads to: a training without, or what its settings say against it."""
    try:
        checked(cls.Config, {**config.model_dump(), field: NONE}, cls.__name__)
    except ConfigError as error:
        return f"{field}=none: {error}"
    return f"{field}=none trains without"


def sight(spec: str, device: torch.device) -> tuple[FeatureNetwork, str]:
    """The network that `spec` names, frozen, and the digest of its weights. EvaluationError, CheckpointError."""
    name, _, file = spec.partition(":")
    folder = Path(os.path.expanduser(spec))
    if name in VGG:
        net, digest = _vgg(name, Path(file) if file else None)
    elif any(os.path.isfile(folder / each) for each in ("config.yaml", "config.json")):
        judge = load(folder, device="cpu").method
        if not isinstance(judge, Evaluator):
            raise EvaluationError("it is no judge: its network sees nothing that others could look through")
        net, digest = Lent(judge), digest_of(judge.state_dict())
    else:
        raise EvaluationError(
            f"no network is called {shown(spec)}{nearest(spec, VGG)}; there are {', '.join(VGG)}, each also as "
            f"NAME:FILE of its weights, and the folder of a trained judge"
        )
    return net.to(device).requires_grad_(False).eval(), digest


def _vgg(name: str, file: Path | None) -> tuple[FeatureNetwork, str]:
    """With the weights of ImageNet, as torchvision publishes them."""
    weights, features = VGG[name]
    state, digest, path = pretrained.load(weights, file)
    with torch.device("meta"):
        net = Maps(features(pretrained.models()))
    pretrained.fill(net, {key: value for key, value in state.items() if key.startswith("features.")}, str(path))
    return net, digest
