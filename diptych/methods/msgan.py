"""MSGAN: "Mode Seeking Generative Adversarial Networks for Diverse Image Synthesis", Mao et al. 2019, arXiv 1903.05628.

pix2pix with a latent code, and a mode-seeking term that makes two latent codes give two different images. Trained on
pairs; many outputs for each source.

    diptych train msgan --data facades direction=b2a -o runs/facades
"""

from collections.abc import Iterator
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from diptych.contract import (
    VALID,
    AveragedWeights,
    Batch,
    CheckConfigs,
    Clock,
    Control,
    DataKind,
    Inputs,
    LatentCode,
    LinearDecay,
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
from diptych.losses.adversarial import lsgan, sum_terms
from diptych.losses.perceptual import mode_seeking
from diptych.losses.valid_pixels import keep_valid
from diptych.networks.latents import Prior, latent_for_seed, sample_latents
from diptych.networks.layers import Norm, evaluating, initialise
from diptych.networks.multiscale import MultiScaleDiscriminator
from diptych.networks.patchgan import PatchGAN, ReceptiveField
from diptych.networks.unet import UNet
from diptych.networks.upsampling import Upsample


class MSGAN(Method):
    class Config(LinearDecay, AveragedWeights, MethodConfig):
        """Section 3.2 and the authors' settings for pix2pix, whose networks are BicycleGAN's."""

        steps: int = Field(80_000, ge=1, description="training steps: 200 epochs of 400 facades at batch size 1")
        in_channels: Annotated[int, Setting(channels_of=("source",))] = Field(
            3, ge=1, le=1024, description="number of channels of the source; read from the data"
        )
        out_channels: Annotated[int, Setting(channels_of=("target",))] = Field(
            3, ge=1, le=1024, description="number of channels of the target; read from the data"
        )
        image_size: Annotated[int, Setting(follows="crop_size")] = Field(
            256, ge=16, le=4096, description="side of the training images in pixels; follows crop_size; a power of two"
        )
        lambda_ms: Annotated[float, Setting(symbol="λ_ms")] = Field(
            1.0, ge=0, description="weight of the mode-seeking term; 0: without it, and the latent code may be ignored"
        )
        ms_eps: float = Field(1e-5, gt=0, description="constant in the denominator of the mode-seeking term")
        lambda_l1: Annotated[float, Setting(symbol="λ_L1")] = Field(
            10.0, ge=0, description="weight of the L1 loss, on the first of the two images"
        )
        lambda_gan: Annotated[float, Setting(symbol="λ_GAN")] = Field(
            1.0, gt=0, description="weight of the GAN loss (paper: 1)"
        )
        latent_dim: int = Field(
            8, ge=1, le=4096, description="dimension of the latent code, which enters each layer of the encoder"
        )
        prior: Prior = Field("normal", description="distribution of the latent code: uniform in [-1, 1], or normal")
        ngf: int = Field(64, ge=1, le=1024, description="channels of the generator's first layer")
        norm: Norm = Field("instance", description="normalisation layers of both networks")
        upsample: Upsample = Field(
            "deconv",
            description="upsampling in the generator: deconv (transposed convolutions, published), or, without "
            "checkerboards, resize_conv or pixel_shuffle",
        )
        receptive_field: ReceptiveField = Field(70, description="receptive field of the patch discriminator in pixels")
        ndf: int = Field(
            64,
            ge=1,
            le=1024,
            description="channels of the discriminator's first layer; half of that at each smaller scale",
        )
        num_scales: int = Field(2, ge=1, le=8, description="number of scales of the discriminator")
        lr: float = Field(2e-4, gt=0, description="learning rate of Adam")

        @model_validator(mode="after")
        def _settings_fit(self) -> "MSGAN.Config":
            if self.image_size & (self.image_size - 1):
                raise ValueError(
                    f"crop_size={self.image_size} is not a power of two: "
                    f"set crop_size={1 << (self.image_size.bit_length() - 1)}"
                )
            if self.ndf >> (self.num_scales - 1) < 1:
                raise ValueError(
                    f"ndf={self.ndf} must be at least {1 << (self.num_scales - 1)} for num_scales={self.num_scales}"
                )
            return self

        def unused(self) -> dict[str, str]:
            return {} if self.lambda_ms else {"ms_eps": "lambda_ms above 0"}

    config: Config
    data = DataKind.PAIRED
    batch = ("source", "target")
    routes = (Route("source", "target"),)
    inference_networks = ("G",)
    controls = (Control("seed", "seed of the latent code, which selects one of many outputs", 0),)
    presets = {
        "paper": {},
        "plain": {"lambda_ms": 0.0},  # without the mode-seeking term
    }
    checks = CheckConfigs(
        tiny={
            "image_size": 32, "ngf": 8, "ndf": 8, "receptive_field": 16, "lambda_ms": 0.1,
            "lambda_l1": 300.0, "lr": 5e-3, "ema_decay": 0.9,
        },
        learning={"steps": 350},
        independent={"lambda_ms": 0.0},
    )  # fmt: skip

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        depth, d_channels = c.image_size.bit_length() - 1, c.in_channels + c.out_channels
        self.G = UNet(
            c.in_channels, c.out_channels, c.ngf, depth, c.norm, "none", code=c.latent_dim, upsample=c.upsample
        )
        self.D = MultiScaleDiscriminator(
            PatchGAN(d_channels, c.receptive_field, c.ndf >> scale, c.norm) for scale in range(c.num_scales)
        )
        initialise(self, "xavier")
        self.traits = Traits(size_multiple=c.image_size)
        self.latent = LatentCode(c.latent_dim, c.prior)

    def stages(self) -> list[Stage]:
        players = {
            name: Player((net,), self.config.lr, schedule=self.config.schedule)
            for name, net in (("G", self.G), ("D", self.D))
        }
        return [Stage("train", self.config.steps, self.updates, players)]

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Translate each source with two latent codes; one step on G, then one on D, with the same images."""
        c, x, y, valid = self.config, batch["source"], batch["target"], batch.get(VALID)
        z = sample_latents(c.prior, 2 * len(x), c.latent_dim, x)
        first, second = (keep_valid(fake, y, valid) for fake in self.G(torch.cat([x, x]), z).chunk(2))
        yield "G", self.generator_terms(x, y, (first, second), z.chunk(2))
        yield "D", self.discriminator_terms(x, y, (first.detach(), second.detach()))

    def generator_terms(self, x: Tensor, y: Tensor, fakes: tuple[Tensor, Tensor], z: tuple[Tensor, ...]) -> Terms:
        """Return G's GAN losses of both images, the L1 loss of the first, and the mode-seeking term."""
        c = self.config
        terms = {f"gan_{number}": c.lambda_gan * self.pair_loss(x, fake, True) for number, fake in enumerate(fakes, 1)}
        if c.lambda_l1:
            terms["l1"] = c.lambda_l1 * F.l1_loss(fakes[0], y)
        if c.lambda_ms:
            terms["seek"] = c.lambda_ms * mode_seeking(fakes, (z[0], z[1]), c.ms_eps)
        return terms

    def discriminator_terms(self, x: Tensor, y: Tensor, fakes: tuple[Tensor, Tensor]) -> Terms:
        """Return D's losses; the real pair counts as often as the generated ones."""
        fake_terms = {f"fake_{number}": self.pair_loss(x, fake, False) for number, fake in enumerate(fakes, 1)}
        return {"real": len(fakes) * self.pair_loss(x, y, True), **fake_terms}

    def pair_loss(self, x: Tensor, y: Tensor, real: bool) -> Tensor:
        """Return the least-squares GAN loss of a pair, summed over scales."""
        return sum_terms([lsgan(logits, real) for logits in self.D(torch.cat([x, y], 1))])

    def encode_controls(self, x: Tensor, seed: int = 0) -> Inputs:
        """Return the latent code of the seed, for each image."""
        return {"latent": latent_for_seed(self.config.prior, self.config.latent_dim, seed, None, x)}

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        with evaluating(self.G):
            return self.G(x, latent)
