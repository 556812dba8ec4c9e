"""SRGAN: "Photo-Realistic Single Image Super-Resolution Using a GAN", Ledig et al. 2017, arXiv 1609.04802.

Super-resolution. The first stage trains SRResNet with MSE; the second adds a GAN loss and a content loss on VGG19
features, which gives sharper images at a lower PSNR.

    diptych train srgan --data photographs crop_size=96 resize_mode=none batch_size=16 -o runs/sharp
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from diptych.contract import (
    AveragedWeights,
    Batch,
    CheckConfigs,
    Clock,
    DataKind,
    Method,
    MethodConfig,
    Player,
    Route,
    Setting,
    Stage,
    Terms,
    Traits,
    Update,
)
from diptych.losses.adversarial import bce, to_float32
from diptych.losses.perceptual import feature_distance, mean_total_variation
from diptych.networks.layers import Norm, evaluating, without_graph
from diptych.networks.srresnet import (
    Discriminator,
    DiscriminatorHead,
    OutputActivation,
    PreUpsample,
    SRResNet,
    downsample_bicubic,
)


class SRGAN(Method):
    class Config(AveragedWeights, MethodConfig):
        """The two stages and their losses (sections 2.2, 3.2), the networks of figure 4, and forms of public code."""

        pretrain_steps: int = Field(1_000_000, ge=0, description="steps of the first stage: SRResNet, with MSE")
        steps: int = Field(200_000, ge=0, description="steps of the second stage with the GAN loss; 0: SRResNet only")
        channels: Annotated[int, Setting(channels_of=("image",))] = Field(
            3, ge=1, le=1024, description="number of channels of the images; read from the data"
        )
        image_size: Annotated[int, Setting(follows="crop_size")] = Field(
            96, ge=16, le=4096, description="side of the training images in pixels, a multiple of 16; follows crop_size"
        )
        scale: Annotated[Literal[2, 4, 8], Setting(symbol="r")] = Field(
            4, description="factor by which images are enlarged"
        )
        feature_network: Annotated[str, Setting(feature_network="features", text=True, path=True)] = Field(
            "vgg19",
            min_length=1,
            max_length=4096,
            description="feature network of the content loss: vgg19, vgg19:FILE, the folder of an evaluator; none: MSE",
        )
        feature_layer: int = Field(
            5, ge=1, le=100, description="which of its feature maps: 5 is VGG54 of the paper, 2 is VGG22"
        )
        feature_scale: float = Field(
            1 / 12.75, gt=0, description="factor of these feature maps (paper: 1/12.75, for the authors' VGG19)"
        )
        lambda_content: Annotated[float, Setting(symbol="l_X^SR")] = Field(
            1.0, gt=0, description="weight of the content loss (paper: 1)"
        )
        lambda_mse: Annotated[float, Setting(symbol="l_MSE^SR")] = Field(
            0.0, ge=0, description="weight of an additional MSE in the second stage"
        )
        lambda_gan: Annotated[float, Setting(symbol="l_Gen^SR")] = Field(
            1e-3, ge=0, description="weight of the adversarial loss (paper: 0.001)"
        )
        lambda_tv: Annotated[float, Setting(symbol="l_TV")] = Field(
            0.0, ge=0, description="weight of the total variation, a mean over images in [0, 1] (public code: 2e-8)"
        )
        ngf: int = Field(64, ge=1, le=1024, description="channels of the generator")
        n_blocks: int = Field(16, ge=1, le=256, description="residual blocks of the generator")
        norm: Norm = Field("batch", description="normalisation layers of both networks")
        pre_upsample: PreUpsample = Field(
            "norm",
            description="layer after the convolution that follows the residual blocks: norm, or prelu (public code)",
        )
        output_activation: OutputActivation = Field(
            "linear", description="last layer of the generator: linear, or tanh (public code)"
        )
        ndf: int = Field(64, ge=1, le=1024, description="channels of the discriminator's first layer")
        d_head: DiscriminatorHead = Field(
            "dense", description="end of the discriminator: dense, for one image size; or pooled"
        )
        lr: float = Field(1e-4, gt=0, description="learning rate of Adam")
        lr_schedule: Literal["paper", "linear"] = Field(
            "paper",
            description="paper: constant, and a tenth in the second half of the second stage; "
            "linear: decays to 0 in each stage",
        )

        @model_validator(mode="after")
        def _something_is_trained(self) -> "SRGAN.Config":
            if not self.pretrain_steps + self.steps:
                raise ValueError("pretrain_steps=0 and steps=0: nothing would be trained")
            if self.image_size % 16:
                raise ValueError(
                    f"crop_size={self.image_size} is not a multiple of 16: set crop_size={self.image_size // 16 * 16}"
                )
            return self

        def unused(self) -> dict[str, str]:
            needs = {} if self.lambda_gan else dict.fromkeys(("ndf", "d_head"), "lambda_gan above 0")
            if self.feature_network == "none":
                needs |= dict.fromkeys(("feature_layer", "feature_scale"), "a feature_network")
            return needs

    config: Config
    data = DataKind.IMAGES
    batch = ("image",)
    routes = (Route("low", "image", ground_truth="image"),)
    inference_networks = ("G",)
    presets = {
        "paper": {},
        "srresnet": {"steps": 0, "feature_network": "none"},
        "mse": {"feature_network": "none"},  # SRGAN-MSE of the paper's Table 1
        "vgg22": {"feature_layer": 2},
    }
    traits = Traits(upscale_factor=4)
    checks = CheckConfigs(
        tiny={
            "pretrain_steps": 2, "scale": 2, "feature_layer": 2, "lambda_mse": 1.0, "ngf": 16,
            "n_blocks": 2, "ndf": 4, "lr": 2e-3, "ema_decay": 0.9, "lr_schedule": "linear",
        },
        independent={"norm": "none"},
    )  # fmt: skip

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.G = SRResNet(c.channels, c.scale, c.ngf, c.n_blocks, c.norm, c.pre_upsample, c.output_activation)
        self.D = Discriminator(c.channels, c.image_size, c.ndf, c.norm, c.d_head)
        self.traits = Traits(upscale_factor=c.scale)

    def channels(self) -> dict[str, int]:
        return {"image": self.config.channels, "low": self.config.channels}

    def derive_inputs(self, batch: Batch) -> Batch:
        """Return the batch with `low`, the images at 1 / scale of their size (bicubic)."""
        return {**batch, "low": downsample_bicubic(batch["image"], self.config.scale)}

    def stages(self) -> list[Stage]:
        c, betas = self.config, (0.9, 0.999)
        g = Player((self.G,), c.lr, betas, schedule=self.lr_factor)
        d = Player((self.D,), c.lr, betas, schedule=self.lr_factor)
        players = {"D": d, "G": g} if c.lambda_gan else {"G": g}
        return [
            Stage("mse", c.pretrain_steps, self.pretrain_step, {"G": g}),
            Stage("gan", c.steps, self.updates, players),
        ]

    def lr_factor(self, clock: Clock) -> float:
        """Return the factor of the learning rate."""
        if self.config.lr_schedule == "linear":
            return clock.decay()
        return 0.1 if clock.stage == "gan" and 2 * clock.step >= clock.steps else 1.0

    def pretrain_step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """One step on G, with MSE."""
        low, x = self.derive_inputs(batch)["low"], batch["image"]
        yield "G", {"mse": F.mse_loss(to_float32(self.upscale(low)), x)}

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Equation 2 in its non-saturating form: one step on D, then one on G, with the same images."""
        low, x = self.derive_inputs(batch)["low"], batch["image"]
        fake = self.upscale(low)
        if self.config.lambda_gan:
            yield "D", {"real": bce(self.D(x), True), "fake": bce(self.D(fake.detach()), False)}
        terms = {"content": self.config.lambda_content * self.content_loss(fake, x)}
        if self.config.lambda_gan:
            terms["gan"] = self.config.lambda_gan * bce(self.D(fake), True)
        yield "G", {**terms, **self.auxiliary_terms(fake, x)}

    def upscale(self, low: Tensor) -> Tensor:
        """Return the upscaled images, in [-1, 1]; the network takes [0, 1], as in the paper."""
        return self.G((low + 1) / 2)

    def content_loss(self, fake: Tensor, x: Tensor) -> Tensor:
        """Return equation 5, averaged over channels too; without a feature network equation 4, the MSE."""
        if self.config.feature_network == "none":
            return F.mse_loss(to_float32(fake), x)
        features, layer = self.perceptual["features"], self.config.feature_layer - 1
        with without_graph():
            target = features(x)[layer]
        return feature_distance(features(fake)[layer], target, self.config.feature_scale)

    def auxiliary_terms(self, fake: Tensor, x: Tensor) -> Terms:
        """Return the losses of public code that the paper does not have."""
        c = self.config
        terms = {}
        if c.lambda_mse:
            terms["pixel"] = c.lambda_mse * F.mse_loss(to_float32(fake), x)
        if c.lambda_tv:
            terms["tv"] = c.lambda_tv * mean_total_variation((fake + 1) / 2)
        return terms

    def forward(self, x: Tensor) -> Tensor:
        """Return the upscaled images (N, C, scale * H, scale * W)."""
        with evaluating(self.G):
            return self.upscale(x).clamp(-1, 1)
