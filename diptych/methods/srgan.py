"""SRGAN: "Photo-Realistic Single Image Super-Resolution Using a GAN", Ledig et al. 2017, arXiv 1609.04802.

A small picture becomes a large one. SRResNet learns it by squared error, in a first stage; then a discriminator of
patches and what VGG19 sees make it sharp, at the price of that error.

    diptych train srgan --data photographs crop=96 fit=none batch=16 -o runs/sharp
"""

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from diptych.contract import Batch, Clock, DataKind, Method, MethodConfig, Player, Route, Stage, Terms, Update
from diptych.losses.adversarial import bce, precise
from diptych.losses.perceptual import feature_distance, total_variation
from diptych.networks.layers import Norm, evaluating, without_graph
from diptych.networks.srresnet import Discriminator, End, Head, Joint, SRResNet, shrunk


class SRGAN(Method):
    class Config(MethodConfig):
        """The two stages and their losses (sections 2.2, 3.2), the networks of figure 4, and forms of public code."""

        pretrain: int = Field(1_000_000, ge=0, description="steps of the first stage: SRResNet, by squared error")
        steps: int = Field(200_000, ge=0, description="steps of the second, adversarial stage; 0: SRResNet alone")
        channels: int = Field(3, ge=1, le=1024, description="channels of the images; read from the data")
        size: int = Field(96, ge=16, le=4096, description="side of the patches, a multiple of 16; read from crop")
        scale: Literal[2, 4, 8] = Field(4, description="how many times as large pictures become")
        features: str = Field(
            "vgg19",
            min_length=1,
            max_length=4096,
            description="what sees content: vgg19, vgg19:FILE of its weights, a judge's folder; none: squared error",
        )
        layer: int = Field(5, ge=1, le=100, description="which of its maps: 5 is VGG54 of the paper, 2 VGG22")
        rescale: float = Field(1 / 12.75, gt=0, description="factor of those maps")
        content: float = Field(1.0, gt=0, description="weight of the content term")
        pixel: float = Field(0.0, ge=0, description="weight of the squared error beside it, in the second stage")
        gan: float = Field(1e-3, ge=0, description="weight of the adversarial term")
        tv: float = Field(0.0, ge=0, description="weight of the total variation of what is made")
        width: int = Field(64, ge=1, le=1024, description="channels of the generator")
        blocks: int = Field(16, ge=1, le=256, description="residual blocks of the generator")
        norm: Norm = Field("batch", description="norm of both networks")
        joint: Joint = Field("norm", description="what follows the convolution behind the blocks; prelu: public code")
        end: End = Field("linear", description="end of the generator; tanh: public code")
        d_width: int = Field(64, ge=1, le=1024, description="channels of the discriminator's first layer")
        head: Head = Field("dense", description="the discriminator's end: dense, for one size; or pooled")
        lr: float = Field(1e-4, gt=0, description="Adam's step size, both players")
        schedule: Literal["paper", "line"] = Field(
            "paper", description="paper: constant, a tenth from half of the second stage on; line: falls to 0 in each"
        )
        ema_decay: float = Field(0.0, ge=0, lt=1, description="enlarge with weights averaged by this factor; 0: off")

        @model_validator(mode="after")
        def _something_is_trained(self) -> "SRGAN.Config":
            if not self.pretrain + self.steps:
                raise ValueError("pretrain=0 and steps=0: nothing would be trained")
            if self.size % 16:
                raise ValueError(f"size={self.size} is not a multiple of 16: set crop={self.size // 16 * 16}")
            return self

        def unused(self) -> dict[str, str]:
            found = {} if self.gan else dict.fromkeys(("d_width", "head"), "gan above 0")
            if self.features == "none":
                found |= dict.fromkeys(("layer", "rescale"), "a network in features")
            return found

    config: Config
    data = DataKind.IMAGES
    batch = {"image": "channels"}
    square = "size"
    routes = (Route("low", "image", truth="image"),)
    ships = ("G",)
    scale = 4
    sights = {"features": "features"}
    presets = {
        "paper": {},
        "srresnet": {"steps": 0, "features": "none"},
        "mse": {"features": "none"},  # SRGAN-MSE of the paper's Table 1
        "vgg22": {"layer": 2},
    }
    tiny = {"pretrain": 2, "scale": 2, "layer": 2, "pixel": 1.0, "width": 16, "blocks": 2, "d_width": 4, "lr": 2e-3}
    tiny |= {"ema_decay": 0.9, "schedule": "line"}
    apart = {"norm": "none"}

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.G = SRResNet(c.channels, c.scale, c.width, c.blocks, c.norm, c.joint, c.end)
        self.D = Discriminator(c.channels, c.size, c.d_width, c.norm, c.head)
        self.scale, self.ema, self.ema_decay = c.scale, ("G",) if c.ema_decay else (), c.ema_decay

    def channels(self) -> dict[str, int]:
        return {"image": self.config.channels, "low": self.config.channels}

    def completed(self, batch: Batch) -> Batch:
        """With `low`, a `scale`-th as high and wide."""
        return {**batch, "low": shrunk(batch["image"], self.config.scale)}

    def stages(self) -> list[Stage]:
        c, betas = self.config, (0.9, 0.999)
        g, d = (Player((net,), c.lr, betas, schedule=self.step_size) for net in (self.G, self.D))
        players = {"D": d, "G": g} if c.gan else {"G": g}
        return [
            Stage("mse", c.pretrain, self.by_squared_error, {"G": g}),
            Stage("gan", c.steps, self.updates, players),
        ]

    def step_size(self, clock: Clock) -> float:
        if self.config.schedule == "line":
            return clock.decay()
        return 0.1 if clock.stage == "gan" and 2 * clock.step >= clock.steps else 1.0

    def by_squared_error(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        low, x = self.completed(batch)["low"], batch["image"]
        yield "G", {"mse": F.mse_loss(precise(self.enlarged(low)), x)}

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Equation 2, in its non-saturating form: a step on D, then one on G, on the same images."""
        low, x = self.completed(batch)["low"], batch["image"]
        fake = self.enlarged(low)
        if self.config.gan:
            yield "D", {"real": bce(self.D(x), True), "fake": bce(self.D(fake.detach()), False)}
        terms = {"content": self.config.content * self.content(fake, x)}
        if self.config.gan:
            terms["gan"] = self.config.gan * bce(self.D(fake), True)
        yield "G", {**terms, **self.beside(fake, x)}

    def enlarged(self, low: Tensor) -> Tensor:
        """Small images in [-1, 1] to large ones; the network takes 0 to 1, as in the paper."""
        return self.G((low + 1) / 2)

    def content(self, fake: Tensor, x: Tensor) -> Tensor:
        """Equation 5, a mean over channels too; or equation 4, where nothing sees."""
        if self.config.features == "none":
            return F.mse_loss(precise(fake), x)
        see, place = self.lent["features"], self.config.layer - 1
        with without_graph():
            wanted = see(x)[place]
        return feature_distance(see(fake)[place], wanted, self.config.rescale)

    def beside(self, fake: Tensor, x: Tensor) -> Terms:
        """What public code adds to the paper's terms."""
        c = self.config
        pixel = {"pixel": c.pixel * F.mse_loss(precise(fake), x)} if c.pixel else {}
        return pixel | ({"tv": c.tv * total_variation(fake)} if c.tv else {})

    @torch.no_grad()
    def translate(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, scale H, scale W)."""
        with evaluating(self.G):
            return self.enlarged(x).clamp(-1, 1)
