"""classifier: an evaluator network for domains, attributes or digits, trained on real images with their labels.

Cross entropy, Adam, linear decay of the learning rate to 0. Papers score translations by such networks: StarGAN's
expression error (Choi et al. 2018, section 5.4), DTN's digit accuracy (Taigman et al. 2017, section 5.1).
The default network is ours. `network=resnet18` is that of StarGAN's authors.

    diptych evaluator train classifier --data afhq -o evaluators/species
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from diptych.contract import (
    Batch,
    CheckConfigs,
    Clock,
    DataKind,
    Evaluator,
    Labels,
    MethodConfig,
    Player,
    Setting,
    Stage,
    Update,
)
from diptych.networks.classifier import ClassifierNet
from diptych.networks.layers import Norm, evaluating, initialise
from diptych.networks.resnet18 import ResNet18


class Classifier(Evaluator):
    class Config(MethodConfig):
        """The network and its training."""

        steps: int = Field(2000, ge=1, description="number of training steps")
        in_channels: Annotated[int, Setting(channels_of=("image",))] = Field(
            3, ge=1, le=1024, description="number of channels of the images; read from the data"
        )
        labels: Annotated[tuple[Labels, ...], Setting(labels_of=("label",))] = Field(
            (Labels(names=("0", "1")),),
            min_length=1,
            max_length=1,
            description="classes or attributes; read from the data",
        )
        network: Literal["small", "resnet18"] = Field(
            "small", description="architecture: small (ours, of the sizes below), or ResNet-18 as in torchvision"
        )
        base_channels: int = Field(32, ge=1, le=1024, description="channels after the first convolution")
        n_downsample: int = Field(4, ge=1, le=8, description="number of stride-2 convolutions")
        norm: Norm = Field("batch", description="kind of normalisation layers")
        lr: float = Field(1e-3, gt=0, description="initial learning rate of Adam; linear decay to 0")

        def unused(self) -> dict[str, str]:
            sizes = ("base_channels", "n_downsample", "norm")
            return {} if self.network == "small" else dict.fromkeys(sizes, "network=small")

    config: Config
    data = DataKind.LABELLED
    batch = ("image", "label")
    routes = ()
    inference_networks = ("C",)
    checks = CheckConfigs(tiny={"base_channels": 8, "n_downsample": 3, "lr": 1e-2}, independent={"norm": "instance"})

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c, classes = config, len(config.labels[0])
        self.C: ClassifierNet | ResNet18
        if c.network == "resnet18":
            self.C = ResNet18(c.in_channels, classes)
        else:
            self.C = ClassifierNet(c.in_channels, classes, c.base_channels, c.n_downsample, c.norm)
        initialise(self, "kaiming")

    def stages(self) -> list[Stage]:
        player = Player((self.C,), self.config.lr, (0.9, 0.999), schedule=Clock.decay)
        return [Stage("train", self.config.steps, self.updates, {"C": player})]

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        logits, label = self.C(batch["image"]), batch["label"]
        if self.config.labels[0].kind == "class":
            yield "C", {"class": F.cross_entropy(logits, label)}
        else:
            yield "C", {"attributes": F.binary_cross_entropy_with_logits(logits, label.to(logits.dtype))}

    def classes(self) -> tuple[str, ...]:
        return self.config.labels[0].names

    def kind(self) -> Literal["class", "attributes"]:
        return self.config.labels[0].kind

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        with evaluating(self.C):
            return self.C(x)

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        with evaluating(self.C):
            return self.C.features(x)

    def maps(self, x: Tensor) -> list[Tensor]:
        return self.C.maps(x)

    def validation_errors(self, batch: Batch) -> dict[str, float]:
        """Return the error rate over images, or over images and attributes."""
        wrong = self.predict(batch["image"]) != batch["label"]
        return {"wrong": float(wrong.float().mean())}

    def predict(self, x: Tensor) -> Tensor:
        """Return predicted labels of images (N, C, H, W): class indices (N,), or attributes (N, K) of 0 and 1."""
        logits = self.logits(x)
        return logits.argmax(1) if self.config.labels[0].kind == "class" else (logits > 0).long()
