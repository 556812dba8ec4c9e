"""DRIT and DRIT++: "Diverse Image-to-Image Translation via Disentangled Representations", Lee et al. 2018, 2020,
arXiv 1808.00948 and 1905.01270.

An image has a content code in a shared space, in which a discriminator cannot separate the domains, and an attribute
vector of its domain. A translation combines its content with attributes of the other domain, sampled or from a
reference image. Trained on unpaired images.

    diptych train drit --data yosemite crop_size=216 batch_size=2 -o runs/seasons
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from diptych import contract
from diptych.contract import OUTPUT, Batch, Clock, Control, Method, MethodConfig, Player, Route, Stage, Terms, Update
from diptych.losses.adversarial import bce, sum_terms, to_float32
from diptych.losses.deferred import deferred
from diptych.losses.perceptual import mode_seeking
from diptych.networks.drit import (
    CONTENT_MULTIPLIER,
    AttributeEncoder,
    ContentDiscriminator,
    ContentEncoder,
    DeterministicAttributeEncoder,
    Generator,
    content_logits_size,
    linear_layers,
)
from diptych.networks.latents import Prior, code_of_controls, latent_for_seed, sample_latents
from diptych.networks.layers import evaluating, initialise, without_graph
from diptych.networks.multiscale import MultiScaleDiscriminator, patch_discriminator

Pair = tuple[Tensor, Tensor]  # of domain a, of domain b


@dataclass(frozen=True)
class Outputs:
    """The forward passes of a step; each value is a pair for domain a and domain b."""

    x: Pair  # input images
    content: Pair
    mean: Pair  # of their attributes
    log_variance: tuple[Tensor | None, Tensor | None]
    translated: Pair  # into the domain: content of the other's image, attributes of the own image
    reconstructed: Pair  # content and attributes of the own image
    sampled: tuple[Pair, ...]  # into the domain, with sampled attributes
    latents: tuple[Tensor, ...]  # the sampled attributes
    cycled: Pair  # translated twice
    recovered: Pair  # attributes of the first sampled translation


class DRIT(Method):
    class Config(contract.LinearDecay, contract.AveragedWeights, MethodConfig):
        """The losses of section 3, with the settings of the authors' code (DRIT++); a weight of 0 turns a loss off."""

        steps: int = Field(
            1_000_000,
            ge=1,
            description="training steps; every `d_iter`-th updates all networks, the others only the content "
            "discriminator",
        )
        in_channels: Annotated[int, contract.Setting(channels_of=("a",))] = Field(
            3, ge=1, le=1024, description="number of channels of domain a; read from the data"
        )
        out_channels: Annotated[int, contract.Setting(channels_of=("b",))] = Field(
            3, ge=1, le=1024, description="number of channels of domain b; read from the data"
        )
        image_size: Annotated[int, contract.Setting(follows="crop_size")] = Field(
            216, ge=16, le=4096, description="side of the training images in pixels; follows crop_size"
        )
        attribute_injection: Literal["concat", "feature_wise"] = Field(
            "concat",
            description="concat: attribute vector concatenated to the features; feature_wise: transforms them, for "
            "changes of shape",
        )
        split_batch: bool = Field(
            True, description="translate the first half of a batch, and use the second half as real images only"
        )
        d_iter: int = Field(3, ge=1, description="batches per full step; the others update the content discriminator")
        lambda_gan: Annotated[float, contract.Setting(symbol="λ_adv^domain")] = Field(
            1.0, gt=0, description="weight of the GAN losses of images"
        )
        lambda_content: Annotated[float, contract.Setting(symbol="λ_adv^content")] = Field(
            1.0, ge=0, description="weight of the adversarial loss of contents"
        )
        lambda_recon: Annotated[float, contract.Setting(symbol="λ_1^recon")] = Field(
            10.0, ge=0, description="weight of the self-reconstruction loss"
        )
        lambda_cc: Annotated[float, contract.Setting(symbol="λ_1^cc")] = Field(
            10.0, ge=0, description="weight of the cross-cycle consistency loss"
        )
        lambda_latent: Annotated[float, contract.Setting(symbol="λ_1^latent")] = Field(
            10.0, ge=0, description="weight of the latent regression loss of sampled attributes"
        )
        lambda_kl: Annotated[float, contract.Setting(symbol="λ_KL")] = Field(
            0.01, ge=0, description="weight of the KL loss of attributes, and of the L2 loss of contents"
        )
        lambda_ms: Annotated[float, contract.Setting(symbol="λ_ms")] = Field(
            1.0, ge=0, description="weight of the mode-seeking term (DRIT++); 0: DRIT"
        )
        ms_eps: float = Field(1e-5, gt=0, description="constant in the denominator of the mode-seeking term")
        style_dim: int = Field(8, ge=1, le=4096, description="dimension of the attribute vector")
        prior: Prior = Field("normal", description="distribution of the latent code: uniform in [-1, 1], or normal")
        content_noise_std: float = Field(
            1.0, ge=0, description="standard deviation of the noise added to contents in training"
        )
        ngf: int = Field(64, ge=1, le=1024, description="channels of the first layers of encoders and generator")
        ndf: int = Field(64, ge=1, le=1024, description="channels of the discriminators' first layer")
        d_layers: int = Field(4, ge=1, le=10, description="stride-2 convolutions of a discriminator")
        num_scales: int = Field(3, ge=1, le=10, description="number of scales of the discriminators")
        d_kernel: int = Field(4, ge=3, le=4, description="kernel size of these convolutions")
        content_d_layers: int | None = Field(
            None, ge=0, le=10, description="stride-2 convolutions of the content discriminator: 3, or as many as fit"
        )
        content_d_kernel: int | None = Field(
            None, ge=3, le=7, description="kernel size of these convolutions: 7, or 3 where contents are small"
        )
        lr: float = Field(1e-4, gt=0, description="learning rate of Adam; the content discriminator's is 0.4 of it")
        content_grad_clip: float = Field(5.0, gt=0, description="largest gradient norm of the content discriminator")
        weight_decay: float = Field(1e-4, ge=0, description="weight decay of Adam, on all weights")

        @model_validator(mode="after")
        def _settings_fit(self) -> "DRIT.Config":
            if self.image_size % 4:
                raise ValueError(
                    f"crop_size={self.image_size} is not a multiple of 4: set crop_size={self.image_size // 4 * 4}"
                )
            if self.image_size >> (self.d_layers + self.num_scales - 1) < 1:
                raise ValueError(
                    f"crop_size={self.image_size}: num_scales={self.num_scales} with d_layers={self.d_layers} need "
                    f"{1 << (self.d_layers + self.num_scales - 1)} pixels; lower num_scales or d_layers"
                )
            if self.content_d_shape is None:
                raise ValueError(
                    f"crop_size={self.image_size}: {self.image_size // 4} pixels of contents are too small for "
                    "D_content: "
                    f"leave out content_d_layers and content_d_kernel, or set crop_size={self.least} at least"
                )
            return self

        @property
        def content_d_shape(self) -> tuple[int, int] | None:
            """Depth and kernel of the content discriminator: the first of those that are left open that fit."""
            return self._content_discriminator_at(self.image_size)

        @property
        def least(self) -> int:
            """The smallest crop whose contents are large enough for the content discriminator."""
            return next(size for size in range(16, 1 << 20, 4) if self._content_discriminator_at(size))

        def _content_discriminator_at(self, size: int) -> tuple[int, int] | None:
            kernels = (7, 3) if self.content_d_kernel is None else (self.content_d_kernel,)
            depths = (3, 2, 1) if self.content_d_layers is None else (self.content_d_layers,)
            pairs = ((depth, kernel) for kernel in kernels for depth in depths)
            return next((pair for pair in pairs if content_logits_size(size // 4, *pair) >= 1), None)

        def unused(self) -> dict[str, str]:
            unused = {} if self.lambda_ms else {"ms_eps": "lambda_ms above 0"}
            if not self.lambda_content:
                discriminator = ("content_d_layers", "content_d_kernel", "content_grad_clip")
                unused |= dict.fromkeys(discriminator, "lambda_content above 0")
            return unused

    config: Config
    data = contract.DataKind.UNPAIRED
    batch = ("a", "b")
    routes = (Route("a", "b", {"direction": "a2b"}), Route("b", "a", {"direction": "b2a"}))
    inference_networks = ("E_c", "E_a", "G")
    controls = (
        Control("direction", "direction of the translation", "a2b", ("a2b", "b2a")),
        Control("seed", "seed of the attributes", 0),
        Control("reference", "image whose attributes are used instead of the seed's", None, image=OUTPUT),
        Control("toward", "seed of the attributes to interpolate to; -1: none", -1),
        Control("toward_reference", "image whose attributes to interpolate to", None, image=OUTPUT),
        Control("mix", "interpolation between the two: 0 the first, 1 the second", 0.0),
    )
    presets = {
        "paper": {},  # DRIT++
        "drit": {"lambda_ms": 0.0},
        "shapes": {"attribute_injection": "feature_wise"},  # cats to dogs
        "one-scale": {"num_scales": 1, "d_layers": 6, "d_kernel": 3},  # the other discriminator in the authors' code
    }
    traits = contract.Traits(size_multiple=4)
    checks = contract.CheckConfigs(
        tiny={
            "image_size": 32, "ngf": 8, "ndf": 8, "d_layers": 2, "num_scales": 2, "d_iter": 2,
            "lambda_ms": 0.01, "ms_eps": 0.1, "content_noise_std": 0.1, "lambda_kl": 1.0, "lr": 4e-3,
            "ema_decay": 0.9,
        },
        learning={"lambda_ms": 0.0, "d_iter": 1, "num_scales": 1, "lr": 2e-3, "steps": 300},
        independent={"lambda_ms": 0.0, "content_noise_std": 0.0, "split_batch": False},
    )  # fmt: skip

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c, channels = config, (config.in_channels, config.out_channels)
        concat = c.attribute_injection == "concat"
        self.latent = contract.LatentCode(c.style_dim, c.prior)
        self.E_c = ContentEncoder(channels, c.ngf, c.content_noise_std)
        attribute_encoder = AttributeEncoder if concat else DeterministicAttributeEncoder
        self.E_a = nn.ModuleList(attribute_encoder(n, c.ngf, c.style_dim) for n in channels)
        self.G = Generator(channels, c.ngf, c.style_dim, concat)
        # for each domain one for translations with attributes of an image, and one for those with sampled attributes
        self.D_a, self.D_a2, self.D_b, self.D_b2 = (
            MultiScaleDiscriminator(
                patch_discriminator(n, c.ndf, c.d_layers, 0.01, c.d_kernel) for _ in range(c.num_scales)
            )
            for n in channels
            for _ in range(2)
        )
        assert c.content_d_shape is not None
        self.D_content = ContentDiscriminator(CONTENT_MULTIPLIER * c.ngf, *c.content_d_shape)
        initialise(self)
        for layer in linear_layers(self):  # with PyTorch's default, as in the authors' code
            layer.reset_parameters()

    def stages(self) -> list[Stage]:
        c = self.config

        def player(*nets: nn.Module, share: float = 1.0, clip: float | None = None) -> Player:
            return Player(nets, share * c.lr, (0.5, 0.999), c.weight_decay, c.schedule, clip)

        players = {
            "D": player(self.D_a, self.D_a2, self.D_b, self.D_b2),
            "C": player(self.D_content, share=0.4, clip=c.content_grad_clip),
            "G": player(self.E_c, self.G),
            "E": player(self.E_a),
        }
        return [Stage("train", c.steps, self.updates, players, schedule_key=self.is_full_step)]

    def is_full_step(self, clock: Clock) -> bool:
        """Return whether a step updates all networks."""
        return clock.step % self.config.d_iter == self.config.d_iter - 1

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Most steps update the content discriminator only; the others D, it, the encoders with G, then G and E_c.

        The gradient of the last update is computed before the one before it, as in the authors' code (PyTorch < 1.5).
        """
        (a, real_a), (b, real_b) = self.split_pairs(batch["a"]), self.split_pairs(batch["b"])
        if not self.is_full_step(clock):
            with without_graph():
                content = self.E_c(a, 0), self.E_c(b, 1)
            yield "C", self.content_discriminator_terms(content)
            return
        outputs = self.compute(a, b)
        yield "D", self.discriminator_terms(outputs, (real_a, real_b))
        yield "C", self.content_discriminator_terms((outputs.content[0].detach(), outputs.content[1].detach()))
        latent_terms = deferred(self.latent_terms(outputs), [*self.E_c.parameters(), *self.G.parameters()])
        yield ("G", "E"), self.joint_terms(outputs)
        yield "G", latent_terms

    def split_pairs(self, x: Tensor) -> Pair:
        """Return the images to translate and the real images for D: every other image, or all for both."""
        return (x[::2], x[1::2]) if self.config.split_batch and len(x) > 1 else (x, x)

    def compute(self, a: Tensor, b: Tensor) -> Outputs:
        """Return the forward passes of a step, with one pass of G for each domain and translation."""
        c, content = self.config, (self.E_c(a, 0), self.E_c(b, 1))
        (mean_a, var_a), (mean_b, var_b) = self.E_a[0](a), self.E_a[1](b)
        attributes = self.sample_attributes(mean_a, var_a), self.sample_attributes(mean_b, var_b)
        latents = sample_latents(c.prior, (2 if c.lambda_ms else 1) * len(a), c.style_dim, a).split(len(a))
        fakes = []
        for domain in (0, 1):
            other = content[1 - domain]
            contents = torch.cat([other, content[domain], *(other for _ in latents)])
            styles = torch.cat([attributes[domain], attributes[domain], *latents])
            fakes.append(self.G(contents, styles, domain).split(len(a)))
        translated = fakes[0][0], fakes[1][0]
        contents_again = self.E_c(translated[1], 1), self.E_c(translated[0], 0)  # of a and b, from their translations
        cycled = [
            self.G(contents_again[domain], self.sample_attributes(*self.E_a[domain](translated[domain])), domain)
            for domain in (0, 1)
        ]
        sampled = tuple((fakes[0][2 + number], fakes[1][2 + number]) for number in range(len(latents)))
        recovered = [self.E_a[domain](sampled[0][domain])[0] for domain in (0, 1)]
        return Outputs(
            x=(a, b),
            content=content,
            mean=(mean_a, mean_b),
            log_variance=(var_a, var_b),
            translated=translated,
            reconstructed=(fakes[0][1], fakes[1][1]),
            sampled=sampled,
            latents=latents,
            cycled=(cycled[0], cycled[1]),
            recovered=(recovered[0], recovered[1]),
        )

    def sample_attributes(self, mean: Tensor, log_variance: Tensor | None) -> Tensor:
        """Return attributes sampled from a normal distribution; the mean if there is no variance."""
        if log_variance is None:
            return mean
        noise = sample_latents("normal", len(mean), mean.shape[1], to_float32(mean))
        return mean + (to_float32(log_variance) / 2).exp() * noise

    def discriminator_terms(self, outputs: Outputs, real: Pair) -> Terms:
        """Return the losses of both discriminators of each domain; real images count as often as generated ones."""
        terms = {}
        for domain, name in enumerate("ab"):
            d1, d2 = ((self.D_a, self.D_a2), (self.D_b, self.D_b2))[domain]
            sampled = [pair[domain].detach() for pair in outputs.sampled]
            translated = outputs.translated[domain].detach()
            terms[name] = gan_loss(d1(outputs.x[domain]), True) + gan_loss(d1(translated), False)
            real_loss = len(sampled) * gan_loss(d2(real[domain]), True)
            terms[f"{name}2"] = real_loss + sum_terms([gan_loss(d2(fake), False) for fake in sampled])
        return terms

    def content_discriminator_terms(self, content: Pair) -> Terms:
        """Return the content discriminator's loss: contents of a are class 0, those of b class 1."""
        return {"a": bce(self.D_content(content[0]), False), "b": bce(self.D_content(content[1]), True)}

    def joint_terms(self, outputs: Outputs) -> Terms:
        """Return the losses of encoders and G together: equations 2 to 4 of the first paper, and the KL loss."""
        c, terms = self.config, {}
        for domain, name in enumerate("ab"):
            discriminator = (self.D_a, self.D_b)[domain]
            terms[f"gan_{name}"] = c.lambda_gan * gan_loss(discriminator(outputs.translated[domain]), True)
            if c.lambda_content:
                terms[f"content_{name}"] = c.lambda_content * confusion_loss(self.D_content(outputs.content[domain]))
            if c.lambda_recon:
                loss = F.l1_loss(outputs.reconstructed[domain], outputs.x[domain])
                terms[f"self_{name}"] = c.lambda_recon * loss
            if c.lambda_cc:
                terms[f"cross_{name}"] = c.lambda_cc * F.l1_loss(outputs.cycled[domain], outputs.x[domain])
            if c.lambda_kl:
                content_l2 = to_float32(outputs.content[domain]).square().mean()
                kl = kl_loss(outputs.mean[domain], outputs.log_variance[domain])
                terms[f"prior_{name}"] = c.lambda_kl * (content_l2 + kl)
        return terms

    def latent_terms(self, outputs: Outputs) -> Terms:
        """Return the losses of E_c and G for sampled attributes: GAN, latent regression and mode seeking."""
        c, terms = self.config, {}
        for domain, name in enumerate("ab"):
            discriminator = (self.D_a2, self.D_b2)[domain]
            sampled = [pair[domain] for pair in outputs.sampled]
            terms[f"gan2_{name}"] = c.lambda_gan * sum_terms([gan_loss(discriminator(fake), True) for fake in sampled])
            if c.lambda_latent:
                loss = F.l1_loss(outputs.recovered[domain], outputs.latents[0])
                terms[f"latent_{name}"] = c.lambda_latent * loss
            if c.lambda_ms:
                latents = outputs.latents[0], outputs.latents[1]
                terms[f"seek_{name}"] = c.lambda_ms * mode_seeking((sampled[0], sampled[1]), latents, c.ms_eps)
        return terms

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
        """Return the attributes of a seed for all images, or the mean ones of `reference` images, as `style`.

        References are (N or 1, C, H, W). `mix` interpolates to the attributes of the seed `toward` or of the images
        `toward_reference`. Raises ConfigError.
        """
        controls = {"seed": seed, "reference": reference, "toward": toward, "toward_reference": toward_reference}
        attributes = code_of_controls({**controls, "mix": mix}, partial(self.attributes_for, direction, x))
        return {"style": attributes, "direction": direction}

    def forward(self, x: Tensor, style: Tensor, direction: str = "a2b") -> Tensor:
        with evaluating(self):
            return self.G(self.E_c(x, int(direction == "b2a")), style, int(direction == "a2b"))

    @torch.no_grad()
    def translate_each(self, x: Tensor, choices: Sequence[Mapping[str, Any]]) -> list[Tensor]:
        """Return the translations for each choice of controls; x is encoded once per direction."""
        inputs = [self.encode_controls(x, **controls) for controls in choices]
        with evaluating(self):
            contents = {
                name: self.E_c(x, int(name == "b2a")) for name in dict.fromkeys(each["direction"] for each in inputs)
            }
            return [
                self.G(contents[each["direction"]], each["style"], int(each["direction"] == "a2b")) for each in inputs
            ]

    def attributes_for(self, direction: str, x: Tensor, seed: int, reference: Tensor | None) -> Tensor:
        """Return attributes of the target domain for images x: of a seed, or of one reference for all or for each."""
        attributes = None if reference is None else self.style_encoder(reference.to(x), direction)
        return latent_for_seed(self.config.prior, self.config.style_dim, seed, attributes, x)

    @property
    def companions(self) -> Mapping[str, Callable[..., Tensor]]:
        return {"style_encoder": self.style_encoder}

    def style_encoder(self, reference: Tensor, direction: str = "a2b") -> Tensor:
        """Return the mean attributes (N, style_dim) of reference images (N, C, H, W) of the target domain."""
        with evaluating(self):
            attributes: Tensor = self.E_a[int(direction == "a2b")](reference)[0]
            return attributes


def gan_loss(logits: Sequence[Tensor], real: bool) -> Tensor:
    """Return the binary cross entropy, summed over scales."""
    return sum_terms([bce(scale, real) for scale in logits])


def confusion_loss(logits: Tensor) -> Tensor:
    """Return the binary cross entropy with a target of one half."""
    return (bce(logits, True) + bce(logits, False)) / 2


def kl_loss(mean: Tensor, log_variance: Tensor | None) -> Tensor:
    """Return the KL divergence of attributes (N, K) from N(0, I), summed over K; without a variance the mean square."""
    mean = to_float32(mean)
    if log_variance is None:
        return mean.square().mean()
    log_variance = to_float32(log_variance)
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
