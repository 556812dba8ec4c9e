"""StarGAN v2: "Diverse Image Synthesis for Multiple Domains", Choi et al. 2020, arXiv 1912.01865.

One generator translates an image to any domain, with a style code from a latent code or from a reference image.

    diptych train starganv2 --data afhq batch_size=8 -o runs/afhq
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from diptych.losses.adversarial import GANLoss, discriminator_loss, generator_loss, gradient_penalty, r1, to_float32
from diptych.networks.face_landmarks import FaceLandmarks
from diptych.networks.latents import code_of_controls
from diptych.networks.layers import evaluating, initialise, without_graph
from diptych.networks.starganv2 import (
    Content,
    Discriminator,
    Generator,
    LandmarkNetwork,
    MappingNetwork,
    Masks,
    StyleEncoder,
    select_domain,
)

StyleSource = Literal["latent", "reference"]  # where a style code comes from
StyledImage = tuple[Tensor, Tensor]  # a style code and the image generated with it


class StarGANv2(Method):
    class Config(contract.AveragedWeights, MethodConfig):
        """The losses of section 2.2, the ablations of Table 1, and the sizes; a weight of 0 turns a loss off."""

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
        max_channels: int = Field(512, ge=1, le=4096, description="maximum number of channels in a layer")
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
            1.0, gt=0, description="fraction of the steps over which lambda_ds decays linearly to 0"
        )
        lambda_cyc: Annotated[float, contract.Setting(symbol="λ_cyc")] = Field(
            1.0, ge=0, description="weight of the cycle consistency loss"
        )
        w_hpf: Annotated[float, contract.Setting(symbol="w_hpf")] = Field(
            0.0, ge=0, description="divisor of the high-pass filtered skip connections (CelebA-HQ: 1); 0: none"
        )
        landmarks: Annotated[str, contract.Setting(weights_of="landmarks", text=True, path=True)] = Field(
            "none",
            max_length=4096,
            description="file of the landmark network of the skip connections (`wing.ckpt` of the public code), read "
            "when training starts; none: no skip connections",
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
                raise ValueError("StarGAN v2 needs one data set with exactly one class per image, not attributes")
            if self.image_size & (self.image_size - 1):
                raise ValueError(
                    f"crop_size={self.image_size} is not a power of two: set "
                    f"crop_size={1 << (self.image_size.bit_length() - 1)}"
                )
            if self.landmarks != "none" and self.channels not in (1, 3):
                raise ValueError(
                    f"landmarks are of grey or RGB images, not of {self.channels} channels: landmarks=none"
                )
            if len(set(self.style_sources)) < len(self.style_sources):
                raise ValueError(f"style_sources={list(self.style_sources)}: name each source once")
            if self.condition != "style" and "latent" not in self.style_sources:
                raise ValueError(
                    f"style_sources={list(self.style_sources)}: only condition=style has styles of reference images"
                )
            if self.lambda_ds and self.condition in ("label", "concat"):
                raise ValueError(f"condition={self.condition} has one output per domain: set lambda_ds=0")
            return self

        def unused(self) -> dict[str, str]:
            needs = {"lambda_gp": "gan_loss=wgan-gp"}
            if self.gan_loss == "wgan-gp":
                needs = {"lambda_r1": "gan_loss=nonsaturating"}
            if self.d_head != "classes":
                needs["lambda_cls"] = "d_head=classes"
            if self.condition != "style":
                needs |= dict.fromkeys(("style_dim", "mapping_dim", "f_lr", "style_sources"), "condition=style")
            if self.condition in ("label", "concat"):
                needs |= dict.fromkeys(("lambda_sty", "latent_dim"), "condition=style or latent")
            if not self.w_hpf:
                needs["landmarks"] = "w_hpf above 0"
            return needs if self.lambda_ds else needs | {"ds_decay_end": "lambda_ds above 0"}

    config: Config
    data = contract.DataKind.REFERENCED
    batch = ("image", "label", "reference", "other", "target")
    data_defaults = {"crop_mode": "random_resized", "interpolation": "bilinear"}  # of the public code
    inference_networks: tuple[str, ...] = ("G", "F", "E", "landmarks")
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
            "labels": (Labels(names=("sans", "sans-bold")),), "image_size": 32, "ngf": 8,
            "max_channels": 16, "style_dim": 8, "latent_dim": 4, "mapping_dim": 16, "lr": 2e-3,
            "f_lr": 2e-3, "lambda_ds": 0.1, "lambda_cyc": 10.0, "ema_decay": 0.9,
        },
        learning={"lr": 4e-3, "steps": 100},
        independent={"style_sources": ("reference",)},
    )  # fmt: skip
    given_landmarks: LandmarkNetwork | None = None  # see `use_landmarks`

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c, domains = config, len(config.labels[0])
        width = c.ngf or max(1, 2**14 // c.image_size)
        condition_dim = {"style": c.style_dim, "latent": domains + c.latent_dim}.get(c.condition, domains)
        sizes = (c.channels, c.image_size, width, c.max_channels)
        styled = c.condition == "style"
        self.G = Generator(*sizes, condition_dim, c.w_hpf, tiled=c.condition == "concat")
        self.F = MappingNetwork(c.latent_dim, c.style_dim, domains, c.mapping_dim) if styled else None
        self.E: StyleEncoder | None = None
        if styled or c.condition == "latent":  # a latent code has no domain: one head
            self.E = StyleEncoder(*sizes, *((c.style_dim, domains) if styled else (c.latent_dim, 1)))
        self.D = Discriminator(*sizes, domains + (c.d_head == "classes"))
        initialise(self, "kaiming")
        has_landmarks = c.w_hpf and c.landmarks != "none"
        self.landmarks = FaceLandmarks().eval().requires_grad_(False) if has_landmarks else None
        self.kind: GANLoss = "vanilla" if c.gan_loss == "nonsaturating" else "wgan-gp"
        self.names = c.labels[0].names
        self.traits = replace(self.traits, size_multiple=2 * self.G.size_multiple)  # the last norm needs two pixels
        self.style_sources: tuple[StyleSource, ...] = c.style_sources if styled else ("latent",)
        self.trained = tuple(name for name, net in (("G", self.G), ("F", self.F), ("E", self.E)) if net is not None)
        self.inference_networks = (*self.trained, "landmarks") if has_landmarks else self.trained
        self.ema = self.trained if c.ema_decay else ()
        self.routes = tuple(
            Route("image", "image", {"domain": name}, ground_truth=f"image of {name}") for name in self.names
        )
        self.controls = (Control("domain", "domain to translate to", self.names[0], self.names),)
        if self.E is not None:
            self.latent = contract.LatentCode(c.latent_dim, "normal", "torch")
            self.controls += (
                Control("seed", "seed of the style of that domain", 0),
                Control("reference", "image whose style is used instead of the seed's", None, image="reference"),
                Control("toward", "seed of a second style to interpolate to; -1: none", -1),
                Control("toward_reference", "image whose style to interpolate to", None, image="reference"),
                Control("mix", "interpolation between the styles: 0 the first, 1 the second", 0.0),
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
        """D with latent and with reference styles, then G, F and E with latent styles, then G with reference styles."""
        z, masks = self.sample_latents(batch["image"]), self.masks(batch["image"])
        reusable: dict[StyleSource, StyledImage] = {}
        content = self.shared_content(batch["image"], masks)
        for source in self.style_sources:
            # with `max`, the first image is used for G's first update too, so it needs a graph
            keep = self.config.reuse == "max" and source == "latent" == self.style_sources[0]
            with nullcontext() if keep else without_graph():
                style = self.style_for(source, batch, z[0])
                fake = self.G.decode(content or self.G.encode(batch["image"], masks), style)
            if keep:
                reusable[source] = style, fake
            yield "D", prefixed(source, self.discriminator_terms(batch, fake.detach()))
        for index, source in enumerate(self.style_sources):
            if index:  # G was updated
                content = self.shared_content(batch["image"], masks)
            terms = self.generator_terms(source, batch, z, masks, content, reusable.pop(source, None), clock)
            yield self.trained if source == "latent" else "G", prefixed(source, terms)

    def sample_latents(self, x: Tensor) -> Tensor:
        """Return two random latent codes for each sample, (2, N, latent_dim)."""
        return torch.randn(2, len(x), self.config.latent_dim, dtype=x.dtype, device=x.device)

    def shared_content(self, x: Tensor, masks: Masks | None) -> Content | None:
        """Return G's content of images, which passes with the same weights share; None with reuse=none."""
        return None if self.config.reuse == "none" else self.G.encode(x, masks)

    def graph(self, needed: bool) -> AbstractContextManager[None]:
        """Return a context without autograd graph, unless it is needed; with reuse=none there is always one."""
        return nullcontext() if needed or self.config.reuse == "none" else without_graph()

    def style_for(self, source: StyleSource, batch: Batch, z: Tensor, image: str = "reference") -> Tensor:
        """Return the style codes of the target domains, from latent codes or from reference images."""
        if source == "latent":
            return self.style_code(batch["target"], z)
        return self.style_code(batch["target"], image=batch[image])

    def style_code(self, domain: Tensor, z: Tensor | None = None, image: Tensor | None = None) -> Tensor:
        """Return G's condition (N, S) for domains (N,), from latent codes (N, Z) or from images."""
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
        """Return D's losses (equation 1), each image at the output of its domain."""
        c, x, y, target = self.config, batch["image"], batch["label"], batch["target"]
        terms = {}
        if c.gan_loss == "nonsaturating" and c.lambda_r1:
            logits, penalty = r1(self.D, x, lambda output: self.realness(output, y))
            terms["r1"] = c.lambda_r1 * penalty
        else:
            logits = self.D(x)
        if c.gan_loss == "wgan-gp" and c.lambda_gp:
            real = x if c.d_head == "classes" else batch["reference"]  # of the target domain
            terms["penalty"] = c.lambda_gp * gradient_penalty(
                lambda mix: self.realness(self.D(mix), target), real, fake
            )
        if c.d_head == "classes":
            terms["class"] = c.lambda_cls * F.cross_entropy(to_float32(logits[:, 1:]), y)
        return {
            "real": discriminator_loss(self.kind, self.realness(logits, y), True),
            "fake": discriminator_loss(self.kind, self.realness(self.D(fake), target), False),
            **terms,
        }

    def realness(self, logits: Tensor, domain: Tensor) -> Tensor:
        """Return the real-or-fake logits (N, 1): those of the images' domains, or the only ones."""
        return logits[:, :1] if self.config.d_head == "classes" else select_domain(logits, domain)[:, None]

    def generator_terms(
        self,
        source: StyleSource,
        batch: Batch,
        z: Tensor,
        masks: Masks | None,
        content: Content | None,
        reusable: StyledImage | None,
        clock: Clock,
    ) -> Terms:
        """Return equations 1 to 5 for G. F and E are trained with latent styles only, so else they need no graph."""
        c, x, target, trains_styles = self.config, batch["image"], batch["target"], source == "latent"
        if reusable is None:
            with self.graph(trains_styles):  # of the style; the image needs its own in any case
                style = self.style_for(source, batch, z[0])
            fake = self.G.decode(content or self.G.encode(x, masks), style)
        else:
            style, fake = reusable
        logits = self.D(fake)
        terms = {"gan": generator_loss(self.kind, self.realness(logits, target))}
        if c.d_head == "classes":
            terms["class"] = c.lambda_cls * F.cross_entropy(to_float32(logits[:, 1:]), target)
        if self.E is not None and c.lambda_sty:
            recovered, size = self.style_code(target, image=fake), self.E.style_dim
            loss = F.l1_loss(recovered[:, -size:], style[:, -size:])  # without the label of condition=latent
            terms["style"] = c.lambda_sty * loss
        if c.lambda_ds:
            with self.graph(False):
                other = self.G.decode(content or self.G.encode(x, masks), self.style_for(source, batch, z[1], "other"))
            terms["diversity"] = F.l1_loss(fake, other.detach()) * clock.decay(end=c.ds_decay_end) * -c.lambda_ds
        if c.lambda_cyc:
            with self.graph(trains_styles):
                own_z, label = (z[0] if self.E is None else None), batch["label"]
                own_style = self.style_code(label, own_z, x)
            terms["cycle"] = c.lambda_cyc * F.l1_loss(self.G(fake, own_style, self.masks(fake)), x)
        return terms

    def use_landmarks(self, landmarks: LandmarkNetwork | None) -> None:
        """Set a function or network of your own that gives the masks of the high-pass skip connections.

        It replaces the network of `landmarks=`. It is frozen and not part of checkpoints: set it again after loading.
        """
        if isinstance(landmarks, nn.Module):
            landmarks.eval().requires_grad_(False)
        object.__setattr__(self, "given_landmarks", landmarks)  # not as a submodule

    def caution(self) -> str:
        if not self.config.w_hpf or self.given_landmarks is not None or self.landmarks is not None:
            return ""
        return (
            f"w_hpf={self.config.w_hpf:g} without landmarks: high-pass skips are off (details of the source are lost). "
            f"Train with landmarks=wing.ckpt, or give landmarks in Python: method.use_landmarks(...), or "
            f"translator.method.use_landmarks(...)"
        )

    def masks(self, x: Tensor) -> Masks | None:
        """Return the masks of images, without gradient; None without landmarks or high-pass filter."""
        if not self.config.w_hpf or (self.given_landmarks is None and self.landmarks is None):
            return None
        with without_graph():
            if self.given_landmarks is not None:
                return self.given_landmarks(x.detach())
            assert self.landmarks is not None
            with evaluating(self.landmarks):
                masks: Masks = self.landmarks(x.detach())
            return masks

    def encode_controls(
        self,
        x: Tensor,
        domain: str = "",
        seed: int = 0,
        reference: Tensor | None = None,
        toward: int = -1,
        toward_reference: Tensor | None = None,
        mix: float = 0.0,
    ) -> contract.Inputs:
        """Return the style of a seed or of `reference` in `domain`. See `style_from`.

        `mix` interpolates to the style of the seed `toward` or of the images `toward_reference`. Raises ConfigError.
        """
        controls = {"seed": seed, "reference": reference, "toward": toward, "toward_reference": toward_reference}
        style = code_of_controls(
            {**controls, "mix": mix}, lambda number, images: self.style_from(domain, number, images, len(x))
        )
        return {"style": style}

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return self.decode(self.encode(x), style)

    @torch.no_grad()
    def translate_each(self, x: Tensor, choices: Sequence[Mapping[str, Any]]) -> list[Tensor]:
        """Return the translations for each choice of controls; x is encoded once."""
        content = self.encode(x)
        return [self.decode(content, self.encode_controls(x, **controls)["style"]) for controls in choices]

    @property
    def companions(self) -> Mapping[str, Callable[..., Tensor]]:
        mapping = {"mapping_network": self.mapping_network}
        return mapping if self.E is None else {**mapping, "style_encoder": self.style_encoder}

    def mapping_network(self, domain: Tensor, latent: Tensor | None = None) -> Tensor:
        """Return the style codes (N, S) of domains (N,) and latent codes (N, latent_dim), if the styles have codes."""
        return self.style_code(domain, latent)

    def style_encoder(self, reference: Tensor, domain: Tensor) -> Tensor:
        """Return the style codes (N, S) of reference images (N, C, size, size) of domains (N,)."""
        return self.style_code(domain, image=reference)

    def reference_controls(self, batch: Batch, index: int) -> dict[str, Any]:
        return {"domain": self.names[int(batch["target"][index])]}

    @torch.no_grad()
    def encode(self, x: Tensor) -> Content:
        """Return the content of images (N, C, H, W), for `decode` with any styles."""
        return self.G.encode(x, self.masks(x))

    @torch.no_grad()
    def decode(self, content: Content, style: Tensor) -> Tensor:
        """Return images (N, C, H, W) of contents and styles (N, S).

        They are clamped to [-1, 1], as G is not bounded, unless `clamp_outputs` is off.
        """
        images = self.G.decode(content, style)
        return images.clamp(-1, 1) if self.clamp_outputs else images

    @torch.no_grad()
    def style_from(
        self, domain: str = "", seed: int | None = 0, reference: Tensor | None = None, count: int = 1
    ) -> Tensor:
        """Return style codes (count, S) of a domain, by default of the first.

        They are those of `reference`, one image (1, C, size, size) for all or `count` of them; without it the one of
        `seed` for all or, if that is None, `count` random ones. Raises ConfigError.
        """
        if domain and domain not in self.names:
            raise ConfigError(f"domain={shown(domain)}: there are {', '.join(self.names)}{nearest(domain, self.names)}")
        like, index = self.G.stem.weight, self.names.index(domain or self.names[0])
        if reference is not None:
            self._check(reference, count)
            images, domains = reference.to(like), torch.full((len(reference),), index, device=like.device)
            return self.style_code(domains, image=images).expand(count, -1)
        generator = None if seed is None else torch.Generator().manual_seed(seed % 2**63)
        z = torch.randn(count if seed is None else 1, self.config.latent_dim, generator=generator).to(like)
        return self.style_code(torch.full((len(z),), index, device=like.device), z).expand(count, -1)

    def _check(self, reference: Tensor, count: int) -> None:
        c, (height, width) = self.config, reference.shape[-2:]
        if self.E is None:
            raise ConfigError("reference: this model has no style encoder; give a domain, and a seed if it has styles")
        if (height, width) != (c.image_size, c.image_size):
            raise ConfigError(
                f"reference: expected images of {c.image_size}x{c.image_size} pixels, got {width}x{height}: resize them"
            )
        if len(reference) not in (1, count):
            raise ConfigError(f"{len(reference)} references for {count} images: give one, or one for each")


def prefixed(source: StyleSource, terms: Terms) -> Terms:
    """Return terms with names of the style source: both kinds of steps update the same players."""
    return {f"{source}_{name}": term for name, term in terms.items()}
