"""SRGAN: "Photo-Realistic Single Image Super-Resolution Using a GAN", Ledig et al. 2017, arXiv 1609.04802.

A small picture becomes a large one. SRResNet learns it by squared error, in a first stage; then a discriminator of
patches and what VGG19 sees make it sharp, at the price of that error.

    diptych train srgan --data photographs crop_size=96 resize_mode=none batch_size=16 -o runs/sharp
"""

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from diptych.contract import Batch, Clock, DataKind, Method, MethodConfig, Player, Route, Stage, Terms, Update
from diptych.losses.adversarial import bce, to_float32
from diptych.losses.perceptual import feature_distance, total_variation
from diptych.networks.layers import Norm, evaluating, without_graph
from diptych.networks.srresnet import Discriminator, End, Head, Joint, SRResNet, shrunk


class SRGAN(Method):
    class Config(MethodConfig):
        """The two stages and their losses (sections 2.2, 3.2), the networks of figure 4, and forms of public code."""

        pretrain_steps: int = Field(1_000_000, ge=0, description="steps of the first stage: SRResNet, by squared error")
        steps: int = Field(200_000, ge=0, description="steps of the second, adversarial stage; 0: SRResNet alone")
        channels: int = Field(3, ge=1, le=1024, description="channels of the images; read from the data")
        image_size: int = Field(96, ge=16, le=4096, description="side of the patches, a multiple of 16; read from crop")
        scale: Literal[2, 4, 8] = Field(4, description="how many times as large pictures become")
        feature_network: str = Field(
            "vgg19",
            min_length=1,
            max_length=4096,
            description="what sees content: vgg19, vgg19:FILE of its weights, a judge's folder; none: squared error",
        )
        feature_layer: int = Field(5, ge=1, le=100, description="which of its maps: 5 is VGG54 of the paper, 2 VGG22")
        feature_scale: float = Field(1 / 12.75, gt=0, description="factor of those maps")
        lambda_content: float = Field(1.0, gt=0, description="weight of the content term")
        lambda_mse: float = Field(0.0, ge=0, description="weight of the squared error beside it, in the second stage")
        lambda_gan: float = Field(1e-3, ge=0, description="weight of the adversarial term")
        lambda_tv: float = Field(0.0, ge=0, description="weight of the total variation of what is made")
        ngf: int = Field(64, ge=1, le=1024, description="channels of the generator")
        n_blocks: int = Field(16, ge=1, le=256, description="residual blocks of the generator")
        norm: Norm = Field("batch", description="norm of both networks")
        pre_upsample: Joint = Field(
            "norm", description="what follows the convolution behind the blocks; prelu: public code"
        )
        output_activation: End = Field("linear", description="end of the generator; tanh: public code")
        ndf: int = Field(64, ge=1, le=1024, description="channels of the discriminator's first layer")
        d_head: Head = Field("dense", description="the discriminator's end: dense, for one size; or pooled")
        lr: float = Field(1e-4, gt=0, description="Adam's step size, both players")
        lr_schedule: Literal["paper", "linear"] = Field(
            "paper", description="paper: constant, a tenth from half of the second stage on; line: falls to 0 in each"
        )
        ema_decay: float = Field(0.0, ge=0, lt=1, description="enlarge with weights averaged by this factor; 0: off")

        @model_validator(mode="after")
        def _something_is_trained(self) -> "SRGAN.Config":
            if not self.pretrain_steps + self.steps:
                raise ValueError("pretrain_steps=0 and steps=0: nothing would be trained")
            if self.image_size % 16:
                raise ValueError(
                    f"image_size={self.image_size} is not a multiple of 16: set crop_size={self.image_size // 16 * 16}"
                )
            return self

        def unused(self) -> dict[str, str]:
            found = {} if self.lambda_gan else dict.fromkeys(("ndf", "d_head"), "gan above 0")
            if self.feature_network == "none":
                found |= dict.fromkeys(("feature_layer", "feature_scale"), "a network in features")
            return found

    config: Config
    data = DataKind.IMAGES
    batch = {"image": "channels"}
    square = "image_size"
    routes = (Route("low", "image", truth="image"),)
    inference_networks = ("G",)
    scale = 4
    feature_networks = {"features": "feature_network"}
    presets = {
        "paper": {},
        "srresnet": {"steps": 0, "feature_network": "none"},
        "mse": {"feature_network": "none"},  # SRGAN-MSE of the paper's Table 1
        "vgg22": {"feature_layer": 2},
    }
    tiny = {
        "pretrain_steps": 2,
        "scale": 2,
        "feature_layer": 2,
        "lambda_mse": 1.0,
        "ngf": 16,
        "n_blocks": 2,
        "ndf": 4,
        "lr": 2e-3,
    }
    tiny |= {"ema_decay": 0.9, "lr_schedule": "linear"}
    apart = {"norm": "none"}

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.G = SRResNet(c.channels, c.scale, c.ngf, c.n_blocks, c.norm, c.pre_upsample, c.output_activation)
        self.D = Discriminator(c.channels, c.image_size, c.ndf, c.norm, c.d_head)
        self.scale, self.ema, self.ema_decay = c.scale, ("G",) if c.ema_decay else (), c.ema_decay

    def channels(self) -> dict[str, int]:
        return {"image": self.config.channels, "low": self.config.channels}

    def derive_inputs(self, batch: Batch) -> Batch:
        """With `low`, a `scale`-th as high and wide."""
        return {**batch, "low": shrunk(batch["image"], self.config.scale)}

    def stages(self) -> list[Stage]:
        c, betas = self.config, (0.9, 0.999)
        g, d = (Player((net,), c.lr, betas, schedule=self.step_size) for net in (self.G, self.D))
        players = {"D": d, "G": g} if c.lambda_gan else {"G": g}
        return [
            Stage("mse", c.pretrain_steps, self.by_squared_error, {"G": g}),
            Stage("gan", c.steps, self.updates, players),
        ]

    def step_size(self, clock: Clock) -> float:
        if self.config.lr_schedule == "linear":
            return clock.decay()
        return 0.1 if clock.stage == "gan" and 2 * clock.step >= clock.steps else 1.0

    def by_squared_error(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        low, x = self.derive_inputs(batch)["low"], batch["image"]
        yield "G", {"mse": F.mse_loss(to_float32(self.enlarged(low)), x)}

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Equation 2, in its non-saturating form: a step on D, then one on G, on the same images."""
        low, x = self.derive_inputs(batch)["low"], batch["image"]
        fake = self.enlarged(low)
        if self.config.lambda_gan:
            yield "D", {"real": bce(self.D(x), True), "fake": bce(self.D(fake.detach()), False)}
        terms = {"content": self.config.lambda_content * self.content(fake, x)}
        if self.config.lambda_gan:
            terms["gan"] = self.config.lambda_gan * bce(self.D(fake), True)
        yield "G", {**terms, **self.beside(fake, x)}

    def enlarged(self, low: Tensor) -> Tensor:
        """Small images in [-1, 1] to large ones; the network takes 0 to 1, as in the paper."""
        return self.G((low + 1) / 2)

    def content(self, fake: Tensor, x: Tensor) -> Tensor:
        """Equation 5, a mean over channels too; or equation 4, where nothing sees."""
        if self.config.feature_network == "none":
            return F.mse_loss(to_float32(fake), x)
        see, place = self.perceptual["features"], self.config.feature_layer - 1
        with without_graph():
            wanted = see(x)[place]
        return feature_distance(see(fake)[place], wanted, self.config.feature_scale)

    def beside(self, fake: Tensor, x: Tensor) -> Terms:
        """What public code adds to the paper's terms."""
        c = self.config
        pixel = {"pixel": c.lambda_mse * F.mse_loss(to_float32(fake), x)} if c.lambda_mse else {}
        return pixel | ({"tv": c.lambda_tv * total_variation(fake)} if c.lambda_tv else {})

    @torch.no_grad()
    def translate(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, scale H, scale W)."""
        with evaluating(self.G):
            return self.enlarged(x).clamp(-1, 1)
