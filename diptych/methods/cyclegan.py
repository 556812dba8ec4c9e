"""CycleGAN: "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", Zhu et al. 2017.

Two generators trained on unpaired images of two domains: a discriminator for each domain, and cycle consistency.
arXiv 1703.10593.

    diptych train cyclegan --data horse2zebra -o runs/zebra
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from diptych.contract import (
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
from diptych.errors import ConfigError
from diptych.losses.adversarial import discriminator_loss, generator_loss
from diptych.networks.factory import GeneratorName, build_generator, check_use_bias, size_multiple_of, unused_by_own
from diptych.networks.image_pool import ImagePool
from diptych.networks.layers import Init, Norm, evaluating, initialise
from diptych.networks.patchgan import PatchGAN, ReceptiveField
from diptych.networks.unet import Dropout
from diptych.networks.upsampling import Upsample


class CycleGAN(Method):
    class Config(LinearDecay, AveragedWeights, MethodConfig):
        """The losses of section 3 and the settings of section 4; a weight of 0 turns its loss off."""

        steps: int = Field(266_800, ge=1, description="training steps: 200 epochs of 1,334 zebras at batch size 1")
        in_channels: Annotated[int, Setting(channels_of=("a",))] = Field(
            3, ge=1, le=1024, description="number of channels of domain a; read from the data"
        )
        out_channels: Annotated[int, Setting(channels_of=("b",))] = Field(
            3, ge=1, le=1024, description="number of channels of domain b; read from the data"
        )
        lambda_gan: Annotated[float, Setting(symbol="λ_GAN")] = Field(
            1.0, ge=0, description="weight of both GAN losses (paper: 1)"
        )
        gan_loss: Literal["lsgan", "vanilla"] = Field(
            "lsgan", description="form of the GAN losses: least squares (paper), or log-likelihood (equation 1)"
        )
        lambda_cycle_a: Annotated[float, Setting(symbol="λ")] = Field(
            10.0, ge=0, description="weight of the cycle consistency loss a -> b -> a (paper: 10)"
        )
        lambda_cycle_b: Annotated[float, Setting(symbol="λ")] = Field(
            10.0, ge=0, description="weight of the cycle consistency loss b -> a -> b (paper: 10)"
        )
        lambda_identity: Annotated[float, Setting(symbol="λ_identity")] = Field(
            0.0,
            ge=0,
            description="weight of the identity loss, as a fraction of the cycle weights (paper: 0.5 for paintings)",
        )
        pool_size: int = Field(50, ge=0, le=10_000, description="generated images kept for each discriminator")
        generator: GeneratorName = Field(
            "resnet_9", description="resnet_9 from 256 pixels, resnet_6 at 128 (paper), or a U-Net"
        )
        ngf: int = Field(64, ge=1, le=1024, description="channels of the generators' first layer")
        norm: Norm = Field("instance", description="normalisation layers of all networks")
        dropout: Dropout = Field("none", description="dropout in the generators (paper: none)")
        use_bias: bool = Field(
            False, description="biases in a U-Net with norm=batch where no norm follows; always there without BatchNorm"
        )
        upsample: Upsample = Field(
            "deconv",
            description="upsampling in the generators: deconv (transposed convolutions, published), or, without "
            "checkerboards, resize_conv or pixel_shuffle",
        )
        receptive_field: ReceptiveField = Field(70, description="receptive field of the patch discriminator in pixels")
        ndf: int = Field(64, ge=1, le=1024, description="channels of the discriminators' first layer")
        init: Init = Field("normal", description="initialisation of the weights")
        init_gain: float = Field(0.02, gt=0, description="standard deviation or gain of the initialisation")
        lr: float = Field(2e-4, gt=0, description="learning rate of Adam")

        @model_validator(mode="after")
        def _use_bias_is_used(self) -> "CycleGAN.Config":
            check_use_bias(self.generator, self.norm, self.use_bias)
            return self

        @model_validator(mode="after")
        def _identity_needs_equal_channels(self) -> "CycleGAN.Config":
            if self.lambda_identity and self.in_channels != self.out_channels:
                raise ValueError(
                    f"lambda_identity={self.lambda_identity} compares an image with its translation, but domain a "
                    f"has {self.in_channels} channels and b has {self.out_channels}: set lambda_identity=0"
                )
            return self

        def unused(self) -> dict[str, str]:
            needs = unused_by_own(self.generator, ("ngf", "dropout", "upsample"))
            if not self.lambda_gan:
                needs |= dict.fromkeys(("gan_loss", "pool_size", "receptive_field", "ndf"), "lambda_gan above 0")
            if not (self.lambda_cycle_a or self.lambda_cycle_b):
                needs["lambda_identity"] = "lambda_cycle_a or lambda_cycle_b above 0"
            if self.init == "kaiming" and self.norm != "batch":
                needs["init_gain"] = "init=normal, xavier or orthogonal"
            return needs

    config: Config
    data = DataKind.UNPAIRED
    batch = ("a", "b")
    routes = (Route("a", "b", {"direction": "a2b"}), Route("b", "a", {"direction": "b2a"}))
    inference_networks = ("to_b", "to_a")
    controls = (Control("direction", "direction of the translation", "a2b", ("a2b", "b2a")),)
    presets = {
        "paper": {},  # identity loss for paintings to photographs only
        "repo": {"lambda_identity": 0.5},  # the authors' code, for every task
    }
    checks = CheckConfigs(
        tiny={
            "generator": "resnet_1", "ngf": 8, "ndf": 8, "receptive_field": 16, "pool_size": 3,
            "lambda_identity": 0.5, "ema_decay": 0.9, "lr": 2e-3,
        },
        learning={"steps": 120},
    )  # fmt: skip

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        options = (c.ngf, c.norm, c.dropout, c.use_bias, c.upsample)
        self.to_b = build_generator(c.generator, c.in_channels, c.out_channels, *options)
        self.to_a = build_generator(c.generator, c.out_channels, c.in_channels, *options)
        self.D_a = PatchGAN(c.in_channels, c.receptive_field, c.ndf, c.norm)
        self.D_b = PatchGAN(c.out_channels, c.receptive_field, c.ndf, c.norm)
        self.pool_a, self.pool_b = ImagePool(c.pool_size), ImagePool(c.pool_size)
        initialise(self, c.init, c.init_gain)
        self.traits = Traits(size_multiple=size_multiple_of(c.generator))

    def stages(self) -> list[Stage]:
        players = {"G": Player((self.to_b, self.to_a), self.config.lr, schedule=self.config.schedule)}
        if self.config.lambda_gan:
            players["D"] = Player((self.D_b, self.D_a), self.config.lr, schedule=self.config.schedule)
        return [Stage("train", self.config.steps, self.updates, players)]

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Section 3.3: one step on both generators, then one on both discriminators, with images from the pools."""
        a, b = batch["a"], batch["b"]
        fake_b, identity_b = self.translate_with_identity(self.to_b, a, b)
        fake_a, identity_a = self.translate_with_identity(self.to_a, b, a)
        yield (
            "G",
            {
                **self.adversarial_terms(fake_a, fake_b),
                **self.cycle_terms(a, b, fake_a, fake_b),
                **self.identity_terms(a, b, identity_a, identity_b),
            },
        )
        if self.config.lambda_gan:
            yield (
                "D",
                {
                    "a": self.discriminator_loss(self.D_a, a, self.pool_a(fake_a)),
                    "b": self.discriminator_loss(self.D_b, b, self.pool_b(fake_b)),
                },
            )

    def translate_with_identity(self, net: nn.Module, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return `net` of a source image and, if there is an identity loss, of an image of its target domain."""
        if not self.config.lambda_identity:
            return net(source), None
        if self.config.norm == "batch" or self.config.dropout != "none":  # one batch would change results
            return net(source), net(target)
        both = net(torch.cat([source, target]))  # four forward passes a step instead of six
        fake, identity = both.split([len(source), len(target)])
        return fake, identity

    def adversarial_terms(self, fake_a: Tensor, fake_b: Tensor) -> Terms:
        """Return the generators' GAN losses."""
        weight, kind = self.config.lambda_gan, self.config.gan_loss
        if not weight:
            return {}
        return {
            "gan_b": weight * generator_loss(kind, self.D_b(fake_b)),
            "gan_a": weight * generator_loss(kind, self.D_a(fake_a)),
        }

    def cycle_terms(self, a: Tensor, b: Tensor, fake_a: Tensor, fake_b: Tensor) -> Terms:
        """Return the cycle consistency losses (equation 2)."""
        terms = {}
        if self.config.lambda_cycle_a:
            terms["cycle_a"] = self.config.lambda_cycle_a * F.l1_loss(self.to_a(fake_b), a)
        if self.config.lambda_cycle_b:
            terms["cycle_b"] = self.config.lambda_cycle_b * F.l1_loss(self.to_b(fake_a), b)
        return terms

    def identity_terms(self, a: Tensor, b: Tensor, identity_a: Tensor | None, identity_b: Tensor | None) -> Terms:
        """Return the identity losses of section 5.2: an image of a generator's target domain should not change."""
        if identity_a is None or identity_b is None:
            return {}
        return {
            "identity_b": self.config.lambda_identity * self.config.lambda_cycle_b * F.l1_loss(identity_b, b),
            "identity_a": self.config.lambda_identity * self.config.lambda_cycle_a * F.l1_loss(identity_a, a),
        }

    def discriminator_loss(self, D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """Return the GAN loss of one discriminator, divided by 2 (appendix 7.1)."""
        if self.config.norm == "batch":
            real_logits, fake_logits = D(real), D(fake)
        else:
            real_logits, fake_logits = D(torch.cat([real, fake])).split([len(real), len(fake)])
        kind = self.config.gan_loss
        return (discriminator_loss(kind, real_logits, True) + discriminator_loss(kind, fake_logits, False)) / 2

    def forward(self, x: Tensor, direction: str = "a2b") -> Tensor:
        net = self.to_b if direction == "a2b" else self.to_a
        if net is None:
            raise ConfigError(f"direction={direction}: this model has only {'to_a' if self.to_a else 'to_b'}")
        with evaluating(net):
            return net(x)
