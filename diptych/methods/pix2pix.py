"""pix2pix: "Image-to-Image Translation with Conditional Adversarial Networks", Isola et al. 2017, arXiv 1611.07004.

A U-Net trained on pairs with an L1 loss and a conditional PatchGAN, which sees source and target together.

    diptych train pix2pix --data facades direction=b2a -o runs/facades
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from diptych.contract import (
    VALID,
    AveragedWeights,
    Batch,
    CheckConfigs,
    Clock,
    Control,
    DataKind,
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
from diptych.losses.adversarial import GANLoss, discriminator_loss, generator_loss, gradient_penalty
from diptych.losses.valid_pixels import keep_valid
from diptych.networks.factory import GeneratorName, build_generator, check_use_bias, size_multiple_of, unused_by_own
from diptych.networks.layers import Init, Norm, as_in_training, evaluating, initialise
from diptych.networks.patchgan import PatchGAN, ReceptiveField
from diptych.networks.unet import Dropout
from diptych.networks.upsampling import Upsample


class Pix2Pix(Method):
    class Config(LinearDecay, AveragedWeights, MethodConfig):
        """The losses of section 3, the ablations of section 4, and the sizes of the networks."""

        steps: int = Field(80_000, ge=1, description="training steps: 200 epochs of 400 facades at batch size 1")
        in_channels: Annotated[int, Setting(channels_of=("source",))] = Field(
            3, ge=1, le=1024, description="number of channels of the source; read from the data"
        )
        out_channels: Annotated[int, Setting(channels_of=("target",))] = Field(
            3, ge=1, le=1024, description="number of channels of the target; read from the data"
        )
        loss: Literal["l1", "gan", "cgan", "l1+gan", "l1+cgan"] = Field(
            "l1+cgan", description="loss terms; cgan: the discriminator is conditioned on the source"
        )
        lambda_l1: Annotated[float, Setting(symbol="λ")] = Field(
            100.0, ge=0, description="weight of the L1 loss (paper: 100)"
        )
        gan_loss: GANLoss = Field("vanilla", description="form of the GAN loss (paper: vanilla)")
        lambda_gp: Annotated[float, Setting(symbol="λ_gp")] = Field(
            10.0, ge=0, description="weight of the gradient penalty of gan_loss=wgan-gp"
        )
        generator: GeneratorName = Field(
            "unet_256", description="unet_N for images of N x N pixels; encoder_decoder_N: without skip connections"
        )
        ngf: int = Field(64, ge=1, le=1024, description="channels of the generator's first layer")
        norm: Norm = Field("batch", description="normalisation layers of the generator")
        dropout: Dropout = Field(
            "paper", description="dropout in the generator: paper (first three decoder layers), repo, or none"
        )
        use_bias: bool = Field(
            False, description="biases in a U-Net with norm=batch where no norm follows; always there without BatchNorm"
        )
        upsample: Upsample = Field(
            "deconv",
            description="upsampling in the generator: deconv (transposed convolutions, published), or, without "
            "checkerboards, resize_conv or pixel_shuffle",
        )
        receptive_field: ReceptiveField = Field(70, description="receptive field of the patch discriminator in pixels")
        ndf: int = Field(64, ge=1, le=1024, description="channels of the discriminator's first layer")
        d_norm: Norm = Field(
            "batch", description="normalisation layers of the discriminator; not batch with gan_loss=wgan-gp"
        )
        init: Init = Field("normal", description="initialisation of the weights")
        init_gain: float = Field(0.02, gt=0, description="standard deviation or gain of the initialisation")
        lr: float = Field(2e-4, gt=0, description="learning rate of Adam")
        lr_decay_start: float = Field(
            1.0, ge=0, le=1, description="fraction of the steps after which the learning rate decays linearly to 0"
        )

        @model_validator(mode="after")
        def _use_bias_is_used(self) -> "Pix2Pix.Config":
            check_use_bias(self.generator, self.norm, self.use_bias)
            return self

        @model_validator(mode="after")
        def _penalty_needs_independent_samples(self) -> "Pix2Pix.Config":
            if self.gan_loss == "wgan-gp" and self.d_norm == "batch" and self.loss != "l1":
                raise ValueError(
                    "gan_loss=wgan-gp penalises the gradient of each sample, and with d_norm=batch samples depend on "
                    "each other: set d_norm=instance or d_norm=none"
                )
            return self

        def unused(self) -> dict[str, str]:
            needs = unused_by_own(self.generator)
            if "gan" not in self.loss:
                needs |= dict.fromkeys(
                    ("gan_loss", "lambda_gp", "receptive_field", "ndf", "d_norm"), "gan or cgan in loss"
                )
            if "l1" not in self.loss:
                needs["lambda_l1"] = "l1 in loss"
            if self.gan_loss != "wgan-gp":
                needs["lambda_gp"] = "gan_loss=wgan-gp"
            if self.init == "kaiming" and "batch" not in (self.norm, self.d_norm):
                needs["init_gain"] = "init=normal, xavier or orthogonal"
            return needs

    config: Config
    data = DataKind.PAIRED
    batch = ("source", "target")
    routes = (Route("source", "target"),)
    inference_networks = ("G",)
    controls = (
        Control(
            "inference",
            "deterministic: no dropout, running statistics of BatchNorm; paper: dropout, and the "
            "statistics of the image itself",
            "deterministic",
            ("deterministic", "paper"),
        ),
        Control("seed", "seed of the dropout of inference=paper", 0),
    )
    presets = {
        "paper": {},
        "repo": {"dropout": "repo", "lr_decay_start": 0.5},  # the authors' PyTorch code
    }
    checks = CheckConfigs(
        tiny={"generator": "unet_32", "ngf": 8, "ndf": 8, "receptive_field": 16, "ema_decay": 0.9, "lr": 2e-3},
        independent={"norm": "instance", "d_norm": "instance", "dropout": "none"},
    )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.G = build_generator(
            c.generator, c.in_channels, c.out_channels, c.ngf, c.norm, c.dropout, c.use_bias, c.upsample
        )
        d_channels = c.out_channels + (c.in_channels if "cgan" in c.loss else 0)
        self.D = PatchGAN(d_channels, c.receptive_field, c.ndf, c.d_norm) if "gan" in c.loss else None
        initialise(self, c.init, c.init_gain)
        self.traits = Traits(size_multiple=size_multiple_of(c.generator))

    def stages(self) -> list[Stage]:
        nets: dict[str, nn.Module] = {"G": self.G} if self.D is None else {"D": self.D, "G": self.G}
        players = {name: Player((net,), self.config.lr, schedule=self.config.schedule) for name, net in nets.items()}
        return [Stage("train", self.config.steps, self.updates, players)]

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Section 3.3: one step on D, whose loss is divided by 2, then one step on G."""
        x, y = batch["source"], batch["target"]
        fake = keep_valid(self.G(x), y, batch.get(VALID))
        if self.D is not None:
            yield "D", {name: term / 2 for name, term in self.discriminator_terms(x, y, fake.detach()).items()}
        yield "G", self.generator_terms(x, y, fake)

    def discriminator_terms(self, x: Tensor, y: Tensor, fake: Tensor) -> Terms:
        """Return D's loss on real and generated pairs, and its gradient penalty."""
        kind = self.config.gan_loss
        terms = {
            "real": discriminator_loss(kind, self.discriminate(x, y), True),
            "fake": discriminator_loss(kind, self.discriminate(x, fake), False),
        }
        if kind == "wgan-gp":
            terms["penalty"] = self.config.lambda_gp * gradient_penalty(lambda mix: self.discriminate(x, mix), y, fake)
        return terms

    def generator_terms(self, x: Tensor, y: Tensor, fake: Tensor) -> Terms:
        """Return G's GAN and L1 losses (equation 4)."""
        terms = {}
        if self.D is not None:
            terms["gan"] = generator_loss(self.config.gan_loss, self.discriminate(x, fake))
        if "l1" in self.config.loss:
            terms["l1"] = self.config.lambda_l1 * F.l1_loss(fake, y)
        return terms

    def discriminate(self, x: Tensor, y: Tensor) -> Tensor:
        """Return D's logits (N, 1, H', W') of the pair (cGAN), or of the target alone (GAN)."""
        assert self.D is not None
        return self.D(torch.cat([x, y], 1) if "cgan" in self.config.loss else y)

    def forward(self, x: Tensor, inference: str = "deterministic", seed: int = 0) -> Tensor:
        if inference == "deterministic":
            with evaluating(self.G):
                return self.G(x)
        with as_in_training(self.G), torch.random.fork_rng([x.device] if x.is_cuda else []):
            return torch.cat([self._with_dropout(image, seed) for image in x.split(1)])

    def _with_dropout(self, image: Tensor, seed: int) -> Tensor:
        torch.manual_seed(seed)
        return self.G(image)
