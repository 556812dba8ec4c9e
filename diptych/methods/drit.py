"""DRIT and DRIT++: "Diverse Image-to-Image Translation via Disentangled Representations", Lee et al. 2018, 2020,
arXiv 1808.00948 and 1905.01270.

Contents of two domains lie in one space, in which a critic cannot tell them apart; attributes are each domain's own.
To translate: the content with attributes of the other domain, drawn or taken from an image. No pairs, many answers.

    diptych train drit --data yosemite crop_size=216 batch_size=2 -o runs/seasons
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from diptych import contract
from diptych.contract import OUTPUT, Batch, Clock, Control, Method, MethodConfig, Player, Route, Stage, Terms, Update
from diptych.losses.adversarial import bce, sum_of, to_float32
from diptych.losses.deferred import deferred
from diptych.losses.perceptual import mode_seeking
from diptych.networks.drit import (
    CONTENT,
    AttributeEncoder,
    ContentDiscriminator,
    ContentEncoder,
    Fixed,
    Generator,
    critic_side,
    dense_layers,
)
from diptych.networks.latents import Prior, latent_for_seed, sample_latents
from diptych.networks.layers import evaluating, initialise, without_graph
from diptych.networks.multiscale import MultiScale, halving

Pair = tuple[Tensor, Tensor]  # of domain a, of domain b


@dataclass(frozen=True)
class Made:
    """What one step makes of the first half of a batch; each a pair of domain a and domain b."""

    x: Pair  # the images
    content: Pair
    mean: Pair  # of their attributes
    log_variance: tuple[Tensor | None, Tensor | None]
    swapped: Pair  # the other's content with its own attributes
    again: Pair  # its own content with its own attributes
    drawn: tuple[Pair, ...]  # the other's content with drawn attributes
    noise: tuple[Tensor, ...]  # those
    back: Pair  # what was swapped, swapped back
    found: Pair  # attributes of the first that was drawn


class DRIT(Method):
    class Config(contract.LinearDecay, contract.AveragedWeights, MethodConfig):
        """The losses of section 3 and the settings of the authors' code, which is DRIT++; a weight of 0 turns off."""

        steps: int = Field(
            1_000_000,
            ge=1,
            description="batches; one of `d_iter` updates all networks, the others the content discriminator",
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
            description="concat: attributes beside the features; feature_wise: mixed into them, for changes of shape",
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
                raise ValueError(f"crop_size={self.image_size} is not a multiple of 4: set {self.image_size // 4 * 4}")
            if self.image_size >> (self.d_layers + self.num_scales - 1) < 1:
                raise ValueError(
                    f"crop_size={self.image_size}: {self.num_scales} discriminators that halve {self.d_layers} times need "
                    f"{1 << (self.d_layers + self.num_scales - 1)} pixels; set depth or scales lower"
                )
            if self.critic is None:
                raise ValueError(
                    f"crop_size={self.image_size}: contents of {self.image_size // 4} pixels are too small for the content critic; "
                    f"leave content_depth and content_kernel out, or set crop_size={self.least} at least"
                )
            return self

        @property
        def critic(self) -> tuple[int, int] | None:
            """Depth and kernel of the content critic: the first of those that are left open that fit."""
            return self._critic_at(self.image_size)

        @property
        def least(self) -> int:
            """The smallest crop whose contents are large enough for the content critic."""
            return next(size for size in range(16, 1 << 20, 4) if self._critic_at(size))

        def _critic_at(self, size: int) -> tuple[int, int] | None:
            kernels = (7, 3) if self.content_d_kernel is None else (self.content_d_kernel,)
            depths = (3, 2, 1) if self.content_d_layers is None else (self.content_d_layers,)
            pairs = ((depth, kernel) for kernel in kernels for depth in depths)
            return next((pair for pair in pairs if critic_side(size // 4, *pair) >= 1), None)

        def unused(self) -> dict[str, str]:
            found = {} if self.lambda_ms else {"ms_eps": "seek above 0"}
            critic = ("content_d_layers", "content_d_kernel", "content_grad_clip")
            return found if self.lambda_content else found | dict.fromkeys(critic, "content above 0")

    config: Config
    data = contract.DataKind.UNPAIRED
    batch = ("a", "b")
    routes = (Route("a", "b", {"direction": "a2b"}), Route("b", "a", {"direction": "b2a"}))
    inference_networks = ("E_c", "E_a", "G")
    controls = (
        Control("direction", "which way to translate", "a2b", ("a2b", "b2a")),
        Control("seed", "which attributes", 0),
        Control("reference", "an image whose attributes to take, instead of the seed's", None, image=OUTPUT),
    )
    presets = {
        "paper": {},  # DRIT++
        "drit": {"lambda_ms": 0.0},
        "shapes": {"attribute_injection": "feature_wise"},  # cats to dogs
        "one-scale": {"num_scales": 1, "d_layers": 6, "d_kernel": 3},  # the other discriminator of the authors' code
    }
    traits = contract.Traits(size_multiple=4)
    checks = contract.CheckConfigs(
        tiny={
            "image_size": 32,
            "ngf": 8,
            "ndf": 8,
            "d_layers": 2,
            "num_scales": 2,
            "d_iter": 2,
            "lambda_ms": 0.01,
            "ms_eps": 0.1,
            "content_noise_std": 0.1,
            "lambda_kl": 1.0,
            "lr": 4e-3,
            "ema_decay": 0.9,
        },
        learning={"steps": 700},
        independent={"lambda_ms": 0.0, "content_noise_std": 0.0, "split_batch": False},
    )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c, channels = config, (config.in_channels, config.out_channels)
        concat = c.attribute_injection == "concat"
        self.E_c = ContentEncoder(channels, c.ngf, c.content_noise_std)
        self.E_a = nn.ModuleList((AttributeEncoder if concat else Fixed)(each, c.ngf, c.style_dim) for each in channels)
        self.G = Generator(channels, c.ngf, c.style_dim, concat)
        # one for images with attributes of another, one for those with drawn ones
        self.D_a, self.D_a2, self.D_b, self.D_b2 = (
            MultiScale(halving(each, c.ndf, c.d_layers, 0.01, c.d_kernel) for _ in range(c.num_scales))
            for each in channels
            for _ in range(2)
        )
        assert c.critic is not None
        self.D_content = ContentDiscriminator(CONTENT * c.ngf, *c.critic)
        initialise(self)
        for layer in dense_layers(self):  # the authors' code leaves these as they are made
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
        return [Stage("train", c.steps, self.updates, players, schedule_key=self.is_full)]

    def is_full(self, clock: Clock) -> bool:
        """Whether all networks move in a step."""
        return clock.step % self.config.d_iter == self.config.d_iter - 1

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Of most batches the content critic alone learns; of the others D, it, E with G, then G with contents alone.

        The gradient of the last is taken before E and G move, as the authors' code meant before torch 1.5.
        """
        (a, other_a), (b, other_b) = self.parted(batch["a"]), self.parted(batch["b"])
        if not self.is_full(clock):
            with without_graph():
                content = self.E_c(a, 0), self.E_c(b, 1)
            yield "C", self.told_apart(content)
            return
        made = self.made(a, b)
        yield "D", self.contest(made, (other_a, other_b))
        yield "C", self.told_apart((made.content[0].detach(), made.content[1].detach()))
        alone = deferred(self.without_attributes(made), [*self.E_c.parameters(), *self.G.parameters()])
        yield ("G", "E"), self.with_attributes(made)
        yield "G", alone

    def parted(self, x: Tensor) -> Pair:
        """Images to translate, and others to look at, by turns; of a single one, or without halves, all are both."""
        return (x[::2], x[1::2]) if self.config.split_batch and len(x) > 1 else (x, x)

    def made(self, a: Tensor, b: Tensor) -> Made:
        """All images of a step, those of a domain in one pass of G."""
        c, content = self.config, (self.E_c(a, 0), self.E_c(b, 1))
        (mean_a, var_a), (mean_b, var_b) = self.E_a[0](a), self.E_a[1](b)
        own = self.spread(mean_a, var_a), self.spread(mean_b, var_b)
        noise = sample_latents(c.prior, (2 if c.lambda_ms else 1) * len(a), c.style_dim, a).split(len(a))
        fakes = []
        for at in (0, 1):
            contents = torch.cat([content[1 - at], content[at], *(content[1 - at] for _ in noise)])
            fakes.append(self.G(contents, torch.cat([own[at], own[at], *noise]), at).split(len(a)))
        swapped = fakes[0][0], fakes[1][0]
        found = self.E_c(swapped[1], 1), self.E_c(swapped[0], 0)  # contents of a and of b, each from its translation
        back = [self.G(found[at], self.spread(*self.E_a[at](swapped[at])), at) for at in (0, 1)]
        drawn = tuple((fakes[0][2 + at], fakes[1][2 + at]) for at in range(len(noise)))
        means = [self.E_a[at](drawn[0][at])[0] for at in (0, 1)]
        return Made(
            (a, b), content, (mean_a, mean_b), (var_a, var_b), swapped, (fakes[0][1], fakes[1][1]), drawn, noise,
            (back[0], back[1]), (means[0], means[1]),
        )  # fmt: skip

    def spread(self, mean: Tensor, log_variance: Tensor | None) -> Tensor:
        """A draw of attributes, where they have a variance; normal, whichever way codes are drawn."""
        if log_variance is None:
            return mean
        return mean + (to_float32(log_variance) / 2).exp() * sample_latents(
            "normal", len(mean), mean.shape[1], to_float32(mean)
        )

    def contest(self, made: Made, other: Pair) -> Terms:
        """Each kind of translation before a critic of its own; a real image counts as often as made ones."""
        terms = {}
        for at, name in enumerate("ab"):
            first, second = ((self.D_a, self.D_a2), (self.D_b, self.D_b2))[at]
            drawn = [pair[at].detach() for pair in made.drawn]
            terms[name] = looks(first(made.x[at]), True) + looks(first(made.swapped[at].detach()), False)
            real = len(drawn) * looks(second(other[at]), True)
            terms[f"{name}2"] = real + sum_of([looks(second(fake), False) for fake in drawn])
        return terms

    def told_apart(self, content: Pair) -> Terms:
        return {"a": bce(self.D_content(content[0]), False), "b": bce(self.D_content(content[1]), True)}

    def with_attributes(self, made: Made) -> Terms:
        """What moves all encoders and G: equations 2 to 4 of the first paper, and the prior."""
        c, terms = self.config, {}
        for at, name in enumerate("ab"):
            terms[f"gan_{name}"] = c.lambda_gan * looks((self.D_a, self.D_b)[at](made.swapped[at]), True)
            if c.lambda_content:
                terms[f"content_{name}"] = c.lambda_content * undecided(self.D_content(made.content[at]))
            if c.lambda_recon:
                terms[f"self_{name}"] = c.lambda_recon * F.l1_loss(made.again[at], made.x[at])
            if c.lambda_cc:
                terms[f"cross_{name}"] = c.lambda_cc * F.l1_loss(made.back[at], made.x[at])
            if c.lambda_kl:
                small = to_float32(made.content[at]).square().mean()
                terms[f"prior_{name}"] = c.lambda_kl * (small + from_normal(made.mean[at], made.log_variance[at]))
        return terms

    def without_attributes(self, made: Made) -> Terms:
        """What moves contents and G alone: images with drawn attributes, which shall be found again and differ."""
        c, terms = self.config, {}
        for at, name in enumerate("ab"):
            drawn = [pair[at] for pair in made.drawn]
            terms[f"gan2_{name}"] = c.lambda_gan * sum_of(
                [looks((self.D_a2, self.D_b2)[at](fake), True) for fake in drawn]
            )
            if c.lambda_latent:
                terms[f"latent_{name}"] = c.lambda_latent * F.l1_loss(made.found[at], made.noise[0])
            if c.lambda_ms:
                terms[f"seek_{name}"] = c.lambda_ms * mode_seeking(
                    (drawn[0], drawn[1]), (made.noise[0], made.noise[1]), c.ms_eps
                )
        return terms

    def translate(self, x: Tensor, direction: str = "a2b", seed: int = 0, reference: Tensor | None = None) -> Tensor:
        """All images with the same attributes, or each with those of its own `reference` (N or 1, C, H, W).

        Those of a reference are its mean. Raises ConfigError.
        """
        return self.translate_each(x, [{"direction": direction, "seed": seed, "reference": reference}])[0]

    @torch.no_grad()
    def translate_each(self, x: Tensor, choices: Sequence[Mapping[str, Any]]) -> list[Tensor]:
        """As `translate` for each, but x is encoded once a direction."""
        with evaluating(self):
            ways = [str(choice.get("direction", "a2b")) for choice in choices]
            contents = {way: self.E_c(x, int(way == "b2a")) for way in dict.fromkeys(ways)}
            return [
                self.G(contents[way], self.attributes_for(choice, int(way == "a2b"), x), int(way == "a2b"))
                for way, choice in zip(ways, choices, strict=True)
            ]

    def attributes_for(self, choice: Mapping[str, Any], domain: int, x: Tensor) -> Tensor:
        """Attributes of a domain for images x: of a seed, one for all, or of references, one for all or for each."""
        reference, seed = choice.get("reference"), int(choice.get("seed", 0))
        given = None if reference is None else self.E_a[domain](reference.to(x))[0]
        return latent_for_seed(self.config.prior, self.config.style_dim, seed, given, x)


def looks(logits: Sequence[Tensor], real: bool) -> Tensor:
    """Cross entropy, added up over scales."""
    return sum_of([bce(each, real) for each in logits])


def undecided(logits: Tensor) -> Tensor:
    """Cross entropy against one half."""
    return (bce(logits, True) + bce(logits, False)) / 2


def from_normal(mean: Tensor, log_variance: Tensor | None) -> Tensor:
    """How far attributes (N, K) are from N(0, I): the divergence, added up over K; without a variance, mean squares."""
    mean = to_float32(mean)
    if log_variance is None:
        return mean.square().mean()
    log_variance = to_float32(log_variance)
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
