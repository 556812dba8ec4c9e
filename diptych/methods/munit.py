"""MUNIT: "Multimodal Unsupervised Image-to-Image Translation", Huang et al. 2018, arXiv 1804.04732.

An image has a content code in a space shared by both domains, and a style code of its domain. A translation combines
its content with a style of the other domain, sampled or from a reference image. Trained on unpaired images.

    diptych train munit --data edges2shoes -o runs/shoes
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from diptych import contract
from diptych.contract import OUTPUT, Batch, Clock, Control, Method, MethodConfig, Player, Route, Stage, Terms, Update
from diptych.losses.adversarial import lsgan, sum_terms
from diptych.losses.perceptual import feature_distance
from diptych.networks.latents import Prior, code_of_controls, latent_for_seed, sample_latents
from diptych.networks.layers import evaluating, initialise, without_graph
from diptych.networks.multiscale import MultiScaleDiscriminator, patch_discriminator
from diptych.networks.munit import AdaINAutoencoder

Pair = tuple[Tensor, Tensor]  # of domain a, of domain b


class MUNIT(Method):
    class Config(contract.AveragedWeights, MethodConfig):
        """The losses of section 3 and the settings of appendix B; a weight of 0 turns its term off."""

        steps: int = Field(
            1_000_000,
            ge=1,
            description="training steps; each updates the discriminators once and the autoencoders once",
        )
        in_channels: Annotated[int, contract.Setting(channels_of=("a",))] = Field(
            3, ge=1, le=1024, description="number of channels of domain a; read from the data"
        )
        out_channels: Annotated[int, contract.Setting(channels_of=("b",))] = Field(
            3, ge=1, le=1024, description="number of channels of domain b; read from the data"
        )
        image_size: Annotated[int, contract.Setting(follows="crop_size")] = Field(
            256, ge=32, le=4096, description="side of the training images in pixels; follows crop_size"
        )
        lambda_gan: Annotated[float, contract.Setting(symbol="λ_GAN")] = Field(
            1.0, gt=0, description="weight of the GAN loss (paper: 1)"
        )
        lambda_image: Annotated[float, contract.Setting(symbol="λ_x")] = Field(
            10.0, ge=0, description="weight of the image reconstruction loss"
        )
        lambda_style: Annotated[float, contract.Setting(symbol="λ_s")] = Field(
            1.0, ge=0, description="weight of the style reconstruction loss"
        )
        lambda_content: Annotated[float, contract.Setting(symbol="λ_c")] = Field(
            1.0, ge=0, description="weight of the content reconstruction loss"
        )
        lambda_cycle: Annotated[float, contract.Setting(symbol="λ_cyc")] = Field(
            0.0, ge=0, description="weight of the style-augmented cycle consistency loss (paper: 10 for some tasks)"
        )
        lambda_perceptual: Annotated[float, contract.Setting(symbol="λ_VGG")] = Field(
            0.0, ge=0, description="weight of the domain-invariant perceptual loss between source and translation"
        )
        feature_network: Annotated[str, contract.Setting(feature_network="features", text=True, path=True)] = Field(
            "none",
            min_length=1,
            max_length=4096,
            description="feature network of the perceptual loss: vgg16, vgg16:FILE, the folder "
            "of an evaluator, or none",
        )
        style_dim: int = Field(8, ge=1, le=4096, description="dimension of the style code")
        prior: Prior = Field("normal", description="distribution of style codes: uniform in [-1, 1], or normal")
        ngf: int = Field(64, ge=1, le=1024, description="channels of the encoders' first layer")
        mlp_dim: int = Field(
            256, ge=1, le=4096, description="width of the MLP from the style code to the AdaIN parameters"
        )
        n_blocks: int = Field(4, ge=1, le=100, description="residual blocks of the content encoder, and of the decoder")
        n_downsample: int = Field(2, ge=1, le=5, description="stride-2 convolutions of the content encoder")
        ndf: int = Field(64, ge=1, le=1024, description="channels of the discriminators' first layer")
        d_layers: int = Field(4, ge=1, le=10, description="stride-2 convolutions of a discriminator")
        num_scales: int = Field(3, ge=1, le=10, description="number of scales of the discriminators")
        reuse: Literal["none", "exact", "max"] = Field(
            "exact",
            description="share between the two steps: none, exact (contents; the same numbers), "
            "or max (sampled styles too)",
        )
        lr: float = Field(1e-4, gt=0, description="learning rate of Adam")
        lr_halve_every: int = Field(
            100_000, ge=1, description="steps after which the learning rate is halved, repeatedly"
        )
        weight_decay: float = Field(1e-4, ge=0, description="weight decay of Adam, on all weights")

        @model_validator(mode="after")
        def _settings_fit(self) -> "MUNIT.Config":
            if self.lambda_perceptual and self.feature_network == "none":
                raise ValueError("lambda_perceptual needs a feature network: set feature_network=vgg16")
            if self.lambda_perceptual and self.in_channels != self.out_channels:
                raise ValueError(
                    f"lambda_perceptual compares images of both domains, but a has {self.in_channels} channels and b "
                    "has "
                    f"{self.out_channels}: set lambda_perceptual=0"
                )
            if self.image_size >> self.n_downsample < 2:
                raise ValueError(
                    f"crop_size={self.image_size}: n_downsample={self.n_downsample} leaves less than 2 x 2 pixels: "
                    "lower it, or raise crop_size"
                )
            if self.image_size >> (self.d_layers + self.num_scales - 1) < 1:
                raise ValueError(
                    f"crop_size={self.image_size}: num_scales={self.num_scales} with d_layers={self.d_layers} need "
                    f"{1 << (self.d_layers + self.num_scales - 1)} pixels; lower num_scales or d_layers"
                )
            return self

        def unused(self) -> dict[str, str]:
            return {} if self.lambda_perceptual else {"feature_network": "lambda_perceptual above 0"}

    config: Config
    data = contract.DataKind.UNPAIRED
    batch = ("a", "b")
    data_defaults = {"interpolation": "bilinear"}  # of the public code
    routes = (Route("a", "b", {"direction": "a2b"}), Route("b", "a", {"direction": "b2a"}))
    inference_networks = ("G_a", "G_b")
    controls = (
        Control("direction", "direction of the translation", "a2b", ("a2b", "b2a")),
        Control("seed", "seed of the style code", 0),
        Control("reference", "image whose style is used instead of the seed's", None, image=OUTPUT),
        Control("toward", "seed of a second style to interpolate to; -1: none", -1),
        Control("toward_reference", "image whose style to interpolate to", None, image=OUTPUT),
        Control("mix", "interpolation between the two styles: 0 the first, 1 the second", 0.0),
    )
    presets = {
        "paper": {},  # edges to shoes or handbags
        "scenes": {"lambda_cycle": 10.0},  # summer to winter, in the authors' code
        "streets": {
            "lambda_cycle": 10.0,
            "lambda_perceptual": 1.0,
            "feature_network": "vgg16",
        },  # SYNTHIA to Cityscapes
    }
    checks = contract.CheckConfigs(
        tiny={
            "image_size": 32, "ngf": 8, "mlp_dim": 16, "n_blocks": 1, "ndf": 8, "d_layers": 2,
            "num_scales": 2, "lambda_cycle": 10.0, "lambda_perceptual": 3.0, "feature_network": "vgg16",
            "lr": 4e-3, "ema_decay": 0.9,
        },
        learning={"steps": 200},
    )  # fmt: skip

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.G_a, self.G_b = (
            AdaINAutoencoder(channels, c.ngf, c.n_blocks, c.style_dim, c.mlp_dim, c.n_downsample)
            for channels in (c.in_channels, c.out_channels)
        )
        self.D_a, self.D_b = (
            MultiScaleDiscriminator(patch_discriminator(channels, c.ndf, c.d_layers, 0.2) for _ in range(c.num_scales))
            for channels in (c.in_channels, c.out_channels)
        )
        for autoencoder in (self.G_a, self.G_b):
            initialise(autoencoder, "kaiming")
        for discriminator in (self.D_a, self.D_b):
            initialise(discriminator)
        halvings = c.n_downsample + (c.n_downsample > 3)  # reflection padding needs 2 pixels, of 16 at least
        self.traits = contract.Traits(size_multiple=2**halvings)
        self.latent = contract.LatentCode(c.style_dim, c.prior)

    def stages(self) -> list[Stage]:
        c = self.config

        def schedule(clock: Clock) -> float:
            return 0.5 ** (clock.step // c.lr_halve_every)

        players = {
            name: Player(nets, c.lr, (0.5, 0.999), c.weight_decay, schedule)
            for name, nets in (("D", (self.D_a, self.D_b)), ("G", (self.G_a, self.G_b)))
        }
        return [Stage("train", c.steps, self.updates, players)]

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """One step on both discriminators, then one on both autoencoders, each with new random styles (section 3)."""
        a, b, reuse = batch["a"], batch["b"], self.config.reuse
        styles = self.sample_styles(a), self.sample_styles(a)
        contents = self.contents(a, b) if reuse != "none" else None
        with without_graph() if reuse == "exact" else nullcontext():
            fakes = self.translate_pair(contents or self.contents(a, b), styles[0])
        yield "D", self.discriminator_terms((a, b), fakes)
        if contents is None:
            contents = self.contents(a, b)
        if reuse == "max":
            yield "G", self.generator_terms((a, b), contents, styles[0], fakes)
        else:
            yield "G", self.generator_terms((a, b), contents, styles[1], self.translate_pair(contents, styles[1]))

    def sample_styles(self, x: Tensor) -> Pair:
        """Return random style codes (N, style_dim) of domain a and of b, for images x."""
        a, b = sample_latents(self.config.prior, 2 * len(x), self.config.style_dim, x).chunk(2)
        return a, b

    def contents(self, a: Tensor, b: Tensor) -> Pair:
        """Return the content codes of images of a and of b."""
        return self.G_a.content(a), self.G_b.content(b)

    def translate_pair(self, contents: Pair, styles: Pair) -> Pair:
        """Return the translations of b to a, and of a to b."""
        return self.G_a.decode(contents[1], styles[0]), self.G_b.decode(contents[0], styles[1])

    def discriminator_terms(self, real: Pair, fake: Pair) -> Terms:
        """Return equation 4 for the discriminators: least squares (appendix B.2), summed over scales."""
        terms = {}
        for name, discriminator, x, y in zip("ab", (self.D_a, self.D_b), real, fake, strict=True):
            scales = zip(discriminator(x), discriminator(y.detach()), strict=True)
            terms[name] = self.config.lambda_gan * sum_terms([lsgan(r, True) + lsgan(f, False) for r, f in scales])
        return terms

    def generator_terms(self, real: Pair, contents: Pair, styles: Pair, fake: Pair) -> Terms:
        """Return equations 1 to 5 for the autoencoders: reconstruction losses and GAN losses."""
        c, autoencoders, terms = self.config, (self.G_a, self.G_b), {}
        own_styles = self.G_a.style(real[0]), self.G_b.style(real[1])
        recovered = self.G_b.content(fake[1]), self.G_a.content(fake[0])  # contents of a and b, from translations
        for index, name in enumerate("ab"):
            discriminator, decode = (self.D_a, self.D_b)[index], autoencoders[index].decode
            logits = discriminator(fake[index])
            terms[f"gan_{name}"] = c.lambda_gan * sum_terms([lsgan(scale, True) for scale in logits])
            if c.lambda_image:
                image = decode(contents[index], own_styles[index])
                terms[f"image_{name}"] = c.lambda_image * F.l1_loss(image, real[index])
            if c.lambda_style:
                style = autoencoders[index].style(fake[index])
                terms[f"style_{name}"] = c.lambda_style * F.l1_loss(style, styles[index])
            if c.lambda_content:
                terms[f"content_{name}"] = c.lambda_content * F.l1_loss(recovered[index], contents[index])
            if c.lambda_cycle:
                cycled = decode(recovered[index], own_styles[index])
                terms[f"cycle_{name}"] = c.lambda_cycle * F.l1_loss(cycled, real[index])
            if c.lambda_perceptual:
                loss = self.perceptual_loss(fake[index], real[1 - index])
                terms[f"perceptual_{name}"] = c.lambda_perceptual * loss
        return terms

    def perceptual_loss(self, fake: Tensor, source: Tensor) -> Tensor:
        """Return the MSE of the last feature maps after InstanceNorm, which removes style (section 5.1)."""
        features = self.perceptual["features"]
        with without_graph():
            target = F.instance_norm(features(source)[-1])
        return feature_distance(F.instance_norm(features(fake)[-1]), target)

    def encode_controls(
        self,
        x: Tensor,
        direction: str = "a2b",
        seed: int = 0,
        reference: Tensor | None = None,
        toward: int = -1,
        toward_reference: Tensor | None = None,
        mix: float = 0.0,
    ) -> contract.Inputs:
        """Return the style of a seed for all images, or those of `reference` images (N or 1, C, H, W).

        `mix` interpolates to the style of the seed `toward` or of the images `toward_reference`. Raises ConfigError.
        """
        controls = {"seed": seed, "reference": reference, "toward": toward, "toward_reference": toward_reference}
        style = code_of_controls({**controls, "mix": mix}, partial(self.style_from, direction, x))
        return {"style": style, "direction": direction}

    def forward(self, x: Tensor, style: Tensor, direction: str = "a2b") -> Tensor:
        source, target = self.autoencoders(direction)
        with evaluating(self):
            return target.decode(source.content(x), style)

    def autoencoders(self, direction: str) -> tuple[AdaINAutoencoder, AdaINAutoencoder]:
        """Return the autoencoders of the source and of the target domain."""
        return (self.G_a, self.G_b) if direction == "a2b" else (self.G_b, self.G_a)

    @torch.no_grad()
    def translate_each(self, x: Tensor, choices: Sequence[Mapping[str, Any]]) -> list[Tensor]:
        """Return the translations for each choice of controls; x is encoded once per direction."""
        inputs = [self.encode_controls(x, **controls) for controls in choices]
        with evaluating(self):
            contents = {
                name: self.autoencoders(name)[0].content(x)
                for name in dict.fromkeys(each["direction"] for each in inputs)
            }
            return [
                self.autoencoders(each["direction"])[1].decode(contents[each["direction"]], each["style"])
                for each in inputs
            ]

    def style_from(self, direction: str, x: Tensor, seed: int, reference: Tensor | None) -> Tensor:
        """Return style codes (N, style_dim) for images x: of a seed, or of one reference for all or for each."""
        styles = None if reference is None else self.style_encoder(reference.to(x), direction)
        return latent_for_seed(self.config.prior, self.config.style_dim, seed, styles, x)

    @property
    def companions(self) -> Mapping[str, Callable[..., Tensor]]:
        return {"style_encoder": self.style_encoder}

    def style_encoder(self, reference: Tensor, direction: str = "a2b") -> Tensor:
        """Return the style codes (N, style_dim) of reference images (N, C, H, W) of the target domain."""
        with evaluating(self):
            return self.autoencoders(direction)[1].style(reference)
