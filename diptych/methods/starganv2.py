"""StarGAN v2: "Diverse Image Synthesis for Multiple Domains", Choi et al. 2020, arXiv 1912.01865.

One generator turns an image into any domain, in a style that is drawn for that domain, or taken from another image.

    diptych train starganv2 --data afhq batch_size=8 -o runs/afhq
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from diptych import contract
from diptych.contract import Batch, Clock, Control, Labels, Method, MethodConfig, Player, Route, Stage, Terms, Update
from diptych.errors import ConfigError, nearest, shown
from diptych.losses.adversarial import Adversarial, discriminator_loss, generator_loss, gradient_penalty, r1, to_float32
from diptych.networks.layers import initialise, without_graph
from diptych.networks.starganv2 import (
    Content,
    Discriminator,
    Generator,
    Landmarks,
    MappingNetwork,
    Masks,
    StyleEncoder,
    select_domain,
)

StyleSource = Literal["latent", "reference"]  # where a style comes from: a drawn code, or an image
StyledImage = tuple[Tensor, Tensor]  # a style and the image made with it


class StarGANv2(Method):
    class Config(contract.AveragedWeights, MethodConfig):
        """The losses of section 2.2, the switches of the paper's Table 1, and the sizes; a weight of 0 turns off."""

        steps: int = Field(
            100_000, ge=1, description="training steps; each updates D twice, then G twice, F and E once"
        )
        channels: Annotated[int, contract.Setting(channels_of=("image", "reference", "other"))] = Field(
            3, ge=1, le=1024, description="number of channels of the images; read from the data"
        )
        labels: Annotated[tuple[Labels, ...], contract.Setting(labels_of=("label", "target"))] = Field(
            (Labels(names=("domain 1", "domain 2")),), description="the domains; read from the data"
        )
        image_size: Annotated[int, contract.Setting(follows="crop_size")] = Field(
            256, ge=16, le=4096, description="side of the training images in pixels; follows crop_size; a power of two"
        )
        ngf: int | None = Field(None, ge=1, le=1024, description="channels at full size; default 16384 / image_size")
        max_channels: int = Field(512, ge=1, le=4096, description="most channels of any layer")
        style_dim: int = Field(64, ge=1, le=4096, description="dimension of the style code")
        latent_dim: int = Field(16, ge=1, le=4096, description="dimension of the latent code, sampled from N(0, 1)")
        mapping_dim: int = Field(512, ge=1, le=4096, description="width of the mapping network")
        condition: Literal["style", "latent", "label", "concat"] = Field(
            "style",
            description="condition of G: a style code, the domain and a latent code, the domain, "
            "or the domain as constant planes",
        )
        d_head: Literal["multitask", "classes"] = Field(
            "multitask", description="multitask: D has an output for each domain; classes: one output, and a classifier"
        )
        gan_loss: Literal["nonsaturating", "wgan-gp"] = Field(
            "nonsaturating", description="non-saturating with R1, or wgan-gp"
        )
        lambda_r1: Annotated[float, contract.Setting(symbol="λ_reg (γ)")] = Field(
            1.0, ge=0, description="weight of the R1 penalty on real images"
        )
        lambda_gp: Annotated[float, contract.Setting(symbol="λ_gp")] = Field(
            10.0, ge=0, description="weight of the gradient penalty of gan_loss=wgan-gp"
        )
        lambda_cls: Annotated[float, contract.Setting(symbol="λ_cls")] = Field(
            1.0, ge=0, description="weight of the classification losses of d_head=classes"
        )
        lambda_sty: Annotated[float, contract.Setting(symbol="λ_sty")] = Field(
            1.0, ge=0, description="weight of the style reconstruction loss"
        )
        lambda_ds: Annotated[float, contract.Setting(symbol="λ_ds")] = Field(
            2.0, ge=0, description="initial weight of the style diversification loss"
        )
        ds_decay_end: float = Field(
            1.0, gt=0, description="fraction of the steps at which that weight has decayed to 0"
        )
        lambda_cyc: Annotated[float, contract.Setting(symbol="λ_cyc")] = Field(
            1.0, ge=0, description="weight of the cycle consistency loss"
        )
        w_hpf: Annotated[float, contract.Setting(symbol="w_hpf")] = Field(
            0.0, ge=0, description="divisor of the high-pass filtered skip connections (CelebA-HQ: 1); 0: none"
        )
        reuse: Literal["none", "exact", "max"] = Field(
            "exact", description="share forward passes: none, exact (at no cost of memory), or max"
        )
        style_sources: tuple[StyleSource, ...] = Field(
            ("latent", "reference"),
            min_length=1,
            max_length=2,
            description="where training takes style codes from: latent codes, reference images",
        )
        lr: float = Field(1e-4, gt=0, description="learning rate of Adam of G, E and D")
        f_lr: float = Field(1e-6, gt=0, description="learning rate of Adam of the mapping network F")
        weight_decay: float = Field(
            1e-4, ge=0, description="weight decay of Adam, on all weights including norms and biases"
        )
        ema_decay: float = Field(
            0.999,
            ge=0,
            lt=1,
            description="decay of the moving average of the weights, used for inference; 0: not averaged",
        )

        @model_validator(mode="after")
        def _settings_fit(self) -> "StarGANv2.Config":
            if len(self.labels) != 1 or self.labels[0].kind != "class":
                raise ValueError("labels: one data set, in which each image is of one class")
            if self.image_size & (self.image_size - 1):
                raise ValueError(
                    f"image_size={self.image_size} is no power of two: set {1 << (self.image_size.bit_length() - 1)}"
                )
            if len(set(self.style_sources)) < len(self.style_sources):
                raise ValueError(f"style_sources={list(self.style_sources)}: name each once")
            if self.condition != "style" and "latent" not in self.style_sources:
                raise ValueError(
                    f"style_sources={list(self.style_sources)}: only condition=style takes its styles from images"
                )
            if self.lambda_ds and self.condition in ("label", "concat"):
                raise ValueError(f"condition={self.condition} has one image a domain to give: set lambda_ds=0")
            return self

        def unused(self) -> dict[str, str]:
            found = (
                {"lambda_gp": "gan_loss=wgan-gp"}
                if self.gan_loss == "nonsaturating"
                else {"lambda_r1": "gan_loss=nonsaturating"}
            )
            if self.d_head != "classes":
                found["lambda_cls"] = "d_head=classes"
            if self.condition != "style":
                found |= dict.fromkeys(("style_dim", "mapping_dim", "f_lr", "style_sources"), "condition=style")
            if self.condition in ("label", "concat"):
                found |= dict.fromkeys(("lambda_sty", "latent_dim"), "condition=style or latent")
            return found if self.lambda_ds else found | {"ds_decay_end": "diversity above 0"}

    config: Config
    data = contract.DataKind.REFERENCED
    batch = ("image", "label", "reference", "other", "target")
    inference_networks: tuple[str, ...] = ("G", "F", "E")
    presets = {
        "paper": {},  # AFHQ
        "celeba_hq": {"lambda_ds": 1.0, "w_hpf": 1.0},
        "a": {"condition": "concat", "d_head": "classes", "gan_loss": "wgan-gp", "lambda_ds": 0.0},
        "b": {"condition": "concat", "gan_loss": "wgan-gp", "lambda_ds": 0.0},
        "c": {"condition": "label", "lambda_ds": 0.0},
        "d": {"condition": "latent", "lambda_ds": 0.0},
        "e": {"lambda_ds": 0.0},
        "f": {"lambda_ds": 1.0},
    }
    traits = contract.Traits(multi_domain=True, balance_classes=True)
    checks = contract.CheckConfigs(
        tiny={
            "labels": (Labels(names=("sans", "sans-bold")),),
            "image_size": 32,
            "ngf": 8,
            "max_channels": 16,
            "style_dim": 8,
            "latent_dim": 4,
            "mapping_dim": 16,
            "lr": 2e-3,
            "f_lr": 2e-3,
            "lambda_ds": 0.1,
            "lambda_cyc": 10.0,
            "ema_decay": 0.9,
        },
        independent={"style_sources": ("reference",)},
    )
    landmarks: Landmarks | None = None  # see `use_landmarks`

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c, domains = config, len(config.labels[0])
        width, told = c.ngf or max(1, 2**14 // c.image_size), {"style": c.style_dim, "latent": domains + c.latent_dim}
        sizes = (c.channels, c.image_size, width, c.max_channels)
        styled = c.condition == "style"
        self.G = Generator(*sizes, told.get(c.condition, domains), c.w_hpf, tiled=c.condition == "concat")
        self.F = MappingNetwork(c.latent_dim, c.style_dim, domains, c.mapping_dim) if styled else None
        self.E: StyleEncoder | None = None
        if styled or c.condition == "latent":  # a latent code says nothing of the domain, so one head reads it
            self.E = StyleEncoder(*sizes, *((c.style_dim, domains) if styled else (c.latent_dim, 1)))
        self.D = Discriminator(*sizes, domains + (c.d_head == "classes"))
        initialise(self, "kaiming")
        self.kind: Adversarial = "vanilla" if c.gan_loss == "nonsaturating" else "wgan-gp"
        self.names = c.labels[0].names
        self.traits = replace(self.traits, size_multiple=2 * self.G.size_multiple)  # the last norm needs two pixels
        self.style_sources: tuple[StyleSource, ...] = c.style_sources if styled else ("latent",)
        self.inference_networks = tuple(
            name for name, net in (("G", self.G), ("F", self.F), ("E", self.E)) if net is not None
        )
        self.ema = self.inference_networks if c.ema_decay else ()
        self.routes = tuple(
            Route("image", "image", {"domain": name}, ground_truth=f"image of {name}") for name in self.names
        )
        self.controls = (Control("domain", "which domain to translate to", self.names[0], self.names),)
        if self.E is not None:
            self.controls += (
                Control("seed", "which style of that domain", 0),
                Control("reference", "an image whose style to take, instead of the seed's", None, image="reference"),
                Control("toward", "a second seed, whose style to go toward; -1: none", -1),
                Control("mix", "how far to go: 0 the first style, 1 the second", 0.0),
            )

    def stages(self) -> list[Stage]:
        c, nets = self.config, {"D": self.D, "G": self.G, "F": self.F, "E": self.E}
        players = {
            name: Player((net,), c.f_lr if name == "F" else c.lr, (0.0, 0.99), c.weight_decay)
            for name, net in nets.items()
            if net is not None
        }
        return [Stage("train", c.steps, self.updates, players)]

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """D on drawn and on shown styles, then G with F and E on drawn ones, then G alone on shown ones."""
        z, masks = self.sample_latents(batch["image"]), self.masks(batch["image"])
        kept: dict[StyleSource, StyledImage] = {}
        content = self.shared_content(batch["image"], masks)
        for way in self.style_sources:
            lasting = self.config.reuse == "max" and way == "latent" == self.style_sources[0]  # G moves down it first
            with nullcontext() if lasting else without_graph():
                code = self.style_for(way, batch, z[0])
                fake = self.G.decode(content or self.G.encode(batch["image"], masks), code)
            if lasting:
                kept[way] = code, fake
            yield "D", prefixed(way, self.discriminator_terms(batch, fake.detach()))
        for place, way in enumerate(self.style_sources):
            if place:  # G has moved
                content = self.shared_content(batch["image"], masks)
            yield (
                self.inference_networks if way == "latent" else "G",
                prefixed(way, self.generator_terms(way, batch, z, masks, content, kept.pop(way, None), clock)),
            )

    def sample_latents(self, x: Tensor) -> Tensor:
        """The two latent codes of each sample of a step, (2, N, latent_dim)."""
        return torch.randn(2, len(x), self.config.latent_dim, dtype=x.dtype, device=x.device)

    def shared_content(self, x: Tensor, masks: Masks | None) -> Content | None:
        """What every pass over the same weights of G begins with; None where each begins by itself."""
        return None if self.config.reuse == "none" else self.G.encode(x, masks)

    def graph(self, needed: bool) -> AbstractContextManager[None]:
        """Without a graph inside, unless it is needed. The published order makes all of them."""
        return nullcontext() if needed or self.config.reuse == "none" else without_graph()

    def style_for(self, way: StyleSource, batch: Batch, z: Tensor, image: str = "reference") -> Tensor:
        """What G is told in this pass: of the target domain, drawn or shown."""
        return (
            self.style_code(batch["target"], z)
            if way == "latent"
            else self.style_code(batch["target"], image=batch[image])
        )

    def style_code(self, domain: Tensor, z: Tensor | None = None, image: Tensor | None = None) -> Tensor:
        """What G is told, (N, S): by a latent code (N, Z), or by an image, of domains (N,)."""
        if self.F is not None and z is not None:
            return self.F(z, domain)
        if self.config.condition == "style":
            assert self.E is not None
            return self.E(image, domain)
        like = self.G.stem.weight
        label = (domain[:, None] == torch.arange(len(self.names), device=domain.device)).to(like.dtype)
        if self.E is None:
            return label
        return torch.cat([label, self.E(image, torch.zeros_like(domain)) if z is None else z], 1)

    def discriminator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        """Section 2.2, (1): each image before the output of its own domain."""
        c, x, y, target = self.config, batch["image"], batch["label"], batch["target"]
        terms = {}
        if c.gan_loss == "nonsaturating" and c.lambda_r1:
            told, penalty = r1(self.D, x, lambda logits: self.realness(logits, y))
            terms["r1"] = c.lambda_r1 * penalty
        else:
            told = self.D(x)
        if c.gan_loss == "wgan-gp" and c.lambda_gp:
            real = x if c.d_head == "classes" else batch["reference"]  # of the domain whose output is asked
            terms["penalty"] = c.lambda_gp * gradient_penalty(
                lambda mix: self.realness(self.D(mix), target), real, fake
            )
        if c.d_head == "classes":
            terms["class"] = c.lambda_cls * F.cross_entropy(to_float32(told[:, 1:]), y)
        return {
            "real": discriminator_loss(self.kind, self.realness(told, y), True),
            "fake": discriminator_loss(self.kind, self.realness(self.D(fake), target), False),
            **terms,
        }

    def realness(self, logits: Tensor, domain: Tensor) -> Tensor:
        """Whether an image is a real one, (N, 1): by the output of its domain, or by the one there is."""
        return logits[:, :1] if self.config.d_head == "classes" else select_domain(logits, domain)[:, None]

    def generator_terms(
        self, way: StyleSource, batch: Batch, z: Tensor, masks: Masks | None, content: Content | None, made: StyledImage | None,
        clock: Clock,
    ) -> Terms:  # fmt: skip
        """Section 2.2, (2) to (5). F and E move down latent styles alone, so what only they need has no graph else."""
        c, x, target, moving = self.config, batch["image"], batch["target"], way == "latent"
        if made is None:
            with self.graph(moving):  # of the style; the image needs its own in any case
                code = self.style_for(way, batch, z[0])
            fake = self.G.decode(content or self.G.encode(x, masks), code)
        else:
            code, fake = made
        judged = self.D(fake)
        terms = {"gan": generator_loss(self.kind, self.realness(judged, target))}
        if c.d_head == "classes":
            terms["class"] = c.lambda_cls * F.cross_entropy(to_float32(judged[:, 1:]), target)
        if self.E is not None and c.lambda_sty:
            found, size = self.style_code(target, image=fake), self.E.style_dim
            terms["style"] = c.lambda_sty * F.l1_loss(
                found[:, -size:], code[:, -size:]
            )  # without the label, if it is told
        if c.lambda_ds:
            with self.graph(False):
                rival = self.G.decode(content or self.G.encode(x, masks), self.style_for(way, batch, z[1], "other"))
            terms["diversity"] = F.l1_loss(fake, rival.detach()) * clock.decay(end=c.ds_decay_end) * -c.lambda_ds
        if c.lambda_cyc:
            with self.graph(moving):
                own = (
                    self.style_code(batch["label"], z[0], x)
                    if self.E is None
                    else self.style_code(batch["label"], image=x)
                )
            terms["cycle"] = c.lambda_cyc * F.l1_loss(self.G(fake, own, self.masks(fake)), x)
        return terms

    def use_landmarks(self, landmarks: Landmarks | None) -> None:
        """Let the high-pass skips follow these masks, in training and in `translate`; without, there are no skips.

        A network is frozen, and is no part of checkpoints: say so again after loading.
        """
        if isinstance(landmarks, nn.Module):
            landmarks.eval().requires_grad_(False)
        object.__setattr__(self, "landmarks", landmarks)  # past nn.Module, which would register it

    def masks(self, x: Tensor) -> Masks | None:
        if self.landmarks is None or not self.config.w_hpf:
            return None
        with without_graph():
            return self.landmarks(x.detach())

    @torch.no_grad()
    def translate(
        self,
        x: Tensor,
        domain: str = "",
        seed: int = 0,
        reference: Tensor | None = None,
        toward: int = -1,
        mix: float = 0.0,
        content: Content | None = None,
    ) -> Tensor:
        """All images in one style, or each in that of its own `reference`. Raises ConfigError. See `style_from`.

        `content` is what `encode` made of x, where that is done already.
        """
        if not 0 <= mix <= 1 or (mix and toward < 0):
            raise ConfigError(f"mix={mix} toward={toward}: give a seed to go toward, and mix from 0 to 1")
        style = self.style_from(domain, seed, reference, len(x))
        if mix:
            style = torch.lerp(style, self.style_from(domain, toward, None, len(x)), mix)
        return self.decode(content or self.encode(x), style)

    def translate_each(self, x: Tensor, choices: Sequence[Mapping[str, Any]]) -> list[Tensor]:
        """As `translate` for each, but x is encoded once."""
        content = self.encode(x)
        return [self.translate(x, **controls, content=content) for controls in choices]

    def reference_controls(self, batch: Batch, at: int) -> dict[str, Any]:
        return {"domain": self.names[int(batch["target"][at])]}

    @torch.no_grad()
    def encode(self, x: Tensor) -> Content:
        """What of images (N, C, H, W) any style can be given to, by `decode`; made once for many."""
        return self.G.encode(x, self.masks(x))

    @torch.no_grad()
    def decode(self, content: Content, style: Tensor) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] from contents and styles (N, S). G is not bounded, so they are clamped."""
        return self.G.decode(content, style).clamp(-1, 1)

    @torch.no_grad()
    def style_from(
        self, domain: str = "", seed: int | None = 0, reference: Tensor | None = None, count: int = 1
    ) -> Tensor:
        """Styles (count, S) of a domain; by default of the first.

        From `reference`, one image (1, C, size, size) for all or `count` of them; else drawn: by `seed` one for all,
        with None `count` different ones from torch's generator of the CPU. Raises ConfigError.
        """
        if domain and domain not in self.names:
            raise ConfigError(f"domain={shown(domain)}: there are {', '.join(self.names)}{nearest(domain, self.names)}")
        like, place = self.G.stem.weight, self.names.index(domain or self.names[0])
        if reference is not None:
            self._check(reference, count)
            images, where = reference.to(like), torch.full((len(reference),), place, device=like.device)
            return self.style_code(where, image=images).expand(count, -1)
        generator = None if seed is None else torch.Generator().manual_seed(seed % 2**63)
        z = torch.randn(count if seed is None else 1, self.config.latent_dim, generator=generator).to(like)
        return self.style_code(torch.full((len(z),), place, device=like.device), z).expand(count, -1)

    def _check(self, reference: Tensor, count: int) -> None:
        c, (height, width) = self.config, reference.shape[-2:]
        if self.E is None:
            raise ConfigError("reference: this model has no style encoder; give a domain, and a seed if it has styles")
        if (height, width) != (c.image_size, c.image_size):
            raise ConfigError(
                f"reference is {width}x{height} pixels; this model reads styles from {c.image_size}x{c.image_size}: resize it"
            )
        if len(reference) not in (1, count):
            raise ConfigError(f"{len(reference)} references for {count} images: give one, or one for each")


def prefixed(way: StyleSource, terms: Terms) -> Terms:
    """The two passes move the same players: the log tells their terms apart by these names."""
    return {f"{way}_{name}": term for name, term in terms.items()}
