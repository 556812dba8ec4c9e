"""segmenter: an evaluator network for label maps, trained on real pairs of photographs and label maps.

The FCN score of pix2pix (Isola et al. 2017, section 3.4) is that of such a network on translations. The paper's is an
FCN-8s in Caffe for Cityscapes; this one is a U-Net for any palette, trained with cross entropy, and is ours.

    diptych evaluator train segmenter --data facades -o evaluators/facades
"""

from collections.abc import Iterator
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from diptych.contract import (
    Batch,
    CheckConfigs,
    Clock,
    DataKind,
    Evaluator,
    MethodConfig,
    Player,
    Route,
    Setting,
    Stage,
    Traits,
    Update,
)
from diptych.networks.layers import Norm, evaluating, initialise
from diptych.networks.unet import UNet
from diptych.system.colours import Colour, name_of, problem_of

IGNORED = -1  # class index of pixels that are not trained on


class Segmenter(Evaluator):
    class Config(MethodConfig):
        """The size of the network, which is ours, its palette, and its training."""

        steps: int = Field(4000, ge=1, description="number of training steps")
        in_channels: Annotated[int, Setting(channels_of=("source",))] = Field(
            3, ge=1, le=1024, description="number of channels of the photographs; read from the data"
        )
        out_channels: Annotated[int, Setting(channels_of=("target",))] = Field(
            3, ge=1, le=256, description="number of channels of the label maps; read from the data"
        )
        palette: tuple[Colour, ...] = Field(
            min_length=2,
            max_length=256,
            description="colour of each class, 0 to 255; found by `diptych evaluator train`",
        )
        ignore: tuple[Colour, ...] = Field(
            (), max_length=254, description="colours, or class numbers, of pixels that are not trained on or scored"
        )
        base_channels: int = Field(32, ge=1, le=1024, description="channels of the first layer")
        n_downsample: int = Field(5, ge=1, le=10, description="number of times that the image is halved")
        norm: Norm = Field("batch", description="kind of normalisation layers")
        lr: float = Field(1e-3, gt=0, description="initial learning rate of Adam; linear decay to 0")

        @model_validator(mode="after")
        def _colours_fit(self) -> "Segmenter.Config":
            if any(len(colour) != self.out_channels for colour in self.palette):
                raise ValueError(f"each colour of the palette needs {self.out_channels} values, one for each channel")
            if problem := problem_of(self.palette, self.ignore):
                raise ValueError(f"ignore: {problem}")
            return self

    config: Config
    data = DataKind.PAIRED
    batch = ("source", "target")
    routes = (Route("source", "target"),)
    inference_networks = ("S",)
    checks = CheckConfigs(
        tiny={"palette": ((0,), (255,)), "base_channels": 8, "lr": 1e-2}, independent={"norm": "instance"}
    )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.S = UNet(
            config.in_channels,
            len(config.palette),
            config.base_channels,
            config.n_downsample,
            config.norm,
            dropout="none",
            bounded=False,
        )
        initialise(self, "kaiming")
        self.traits = Traits(size_multiple=2**config.n_downsample)

    def stages(self) -> list[Stage]:
        player = Player((self.S,), self.config.lr, (0.9, 0.999), schedule=Clock.decay)
        return [Stage("train", self.config.steps, self.updates, {"S": player})]

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        logits, classes = self.S(batch["source"]), self.class_map(batch["target"])
        if not self.config.ignore:
            yield "S", {"class": F.cross_entropy(logits, classes)}
            return
        # The mean over all pixels, ignored ones as 0: micro-batches add up, and a map may be ignored completely.
        yield "S", {"class": F.cross_entropy(logits, classes, ignore_index=IGNORED, reduction="none").mean()}

    def class_map(self, maps: Tensor) -> Tensor:
        """Return class indices (N, H, W) of label maps (N, C, H, W) in [-1, 1]: the nearest colour; -1 if ignored."""
        colours = _in_unit((*self.config.palette, *self.config.ignore), maps)
        distances = [(maps - colour[:, None, None]).square().sum(1) for colour in colours]
        classes = torch.stack(distances, 1).argmin(1)
        return classes.where(classes < len(self.config.palette), IGNORED) if self.config.ignore else classes

    def palette_tensor(self, like: Tensor) -> Tensor:
        """Return the palette as (K, C) in [-1, 1]."""
        return _in_unit(self.config.palette, like)

    def classes(self) -> tuple[str, ...]:
        return tuple(map(name_of, self.config.palette))

    def ignored_classes(self) -> tuple[str, ...]:
        return tuple(map(name_of, self.config.ignore))

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        with evaluating(self.S):
            return self.S(x)

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        with evaluating(self.S):
            return self.S.encode(x)[-1].mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return label maps (N, C, H, W) in [-1, 1] of photographs."""
        classes = self.logits(x).argmax(1)
        return self.palette_tensor(x)[classes].movedim(-1, 1)


def _in_unit(colours: tuple[tuple[int, ...], ...], like: Tensor) -> Tensor:
    """Return colours of 0 to 255 as (K, C) in [-1, 1]."""
    return torch.tensor(colours, dtype=like.dtype, device=like.device) / 127.5 - 1
