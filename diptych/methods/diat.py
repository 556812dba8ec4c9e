"""DIAT and DIAT-A: "Deep Identity-aware Transfer of Facial Attributes", Li, Zuo, Zhang 2016, arXiv 1610.05586v1.

A network gives images an attribute: a discriminator sees to that, and what a face network sees in both (DIAT), or the
discriminator itself (DIAT-A), shall stay. A second network may then enhance what the first one made.

    diptych train diat --data celeba "attributes=[Eyeglasses]" direction=b2a preset=adaptive crop_size=128 -o runs/bare
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from diptych.contract import (
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
from diptych.losses.perceptual import feature_distance
from diptych.networks.layers import Norm, evaluating, initialise, without_graph
from diptych.networks.resnet import ResNet
from diptych.networks.srresnet import shrunk

Share = Annotated[float, Field(ge=0, le=1)]
Place = Annotated[int, Field(ge=1, le=100)]


class DIAT(Method):
    class Config(MethodConfig):
        """Sections 3.1 to 3.3. Widths, weights and step sizes of the paper are unknown to us: these are our choice."""

        steps: int = Field(50_000, ge=0, description="steps of the transfer; each updates D once and T once")
        denoiser_steps: int = Field(
            5000, ge=0, description="steps before the transfer, which train the denoiser of L_smooth"
        )
        warmup_steps: int = Field(1000, ge=0, description="first steps, in which T learns the identity (ours)")
        enhancement_steps: int = Field(
            20_000, ge=0, description="steps after the transfer, which train the enhancement network"
        )
        channels: Annotated[int, Setting(channels_of=("a", "b"))] = Field(
            3, ge=1, le=1024, description="number of channels of the images; read from the data"
        )
        image_size: Annotated[int, Setting(follows="crop_size")] = Field(
            128, ge=32, le=4096, description="side of the training images in pixels; follows crop_size"
        )
        identity_features: Literal["network", "adaptive"] = Field(
            "network",
            description="features of the identity loss: of feature_network (network, DIAT) or of D (adaptive, DIAT-A)",
        )
        feature_network: Annotated[str, Setting(feature_network="features", text=True, path=True)] = Field(
            "vgg16",
            min_length=1,
            max_length=4096,
            description="feature network of the identity loss: vgg16, vgg19, NAME:FILE, the "
            "folder of an evaluator; none if adaptive",
        )
        feature_layers: tuple[Place, ...] = Field(
            (4, 5), min_length=1, description="its layers, or those of D, whose features are compared"
        )
        lambda_id: Annotated[float, Setting(symbol="λ")] = Field(1.0, ge=0, description="weight of the identity loss")
        lambda_smooth: Annotated[float, Setting(symbol="γ")] = Field(
            0.1, ge=0, description="weight of L_smooth; 0, or identity_features=adaptive: without it"
        )
        enhancement: Literal["none", "local", "global"] = Field(
            "none",
            description="enhancement network: none, for an attribute of a region (local), or of "
            "the whole face (global)",
        )
        region: tuple[Share, Share, Share, Share] = Field(
            (0.55, 0.2, 0.95, 0.8),
            description="region of enhancement=local: top, left, bottom and right as fractions of the side",
        )
        lambda_inside: Annotated[tuple[float, float, float], Setting(symbol="β")] = Field(
            (1.0, 1.0, 1.0),
            description="weights inside the region of enhancement=local: pixels, first and second feature map",
        )
        ngf: int = Field(32, ge=1, le=1024, description="channels of T's first layer")
        n_blocks: int = Field(5, ge=1, le=100, description="residual blocks of T")
        ndf: int = Field(64, ge=1, le=1024, description="channels of D's first layer")
        d_max_channels: int = Field(512, ge=1, le=65_536, description="most channels of any layer of D")
        d_layers: int = Field(5, ge=1, le=10, description="stride-2 convolutions of D")
        d_head: Literal["dense", "patches"] = Field(
            "dense", description="output of D: one for the image (dense), or one for each patch (patches)"
        )
        norm: Norm = Field(
            "instance", description="normalisation layers of T and of the enhancement network; D has none"
        )
        lr: float = Field(2e-4, gt=0, description="learning rate of Adam")

        @model_validator(mode="after")
        def _settings_fit(self) -> "DIAT.Config":
            if self.identity_features == "network" and self.feature_network == "none":
                raise ValueError(
                    "identity_features=network looks through features: name one, or set identity_features=adaptive"
                )
            if self.identity_features == "adaptive" and max(self.feature_layers) > self.d_layers:
                raise ValueError(
                    f"feature_layers={list(self.feature_layers)}: D has {self.d_layers} layers to look at, see depth"
                )
            if self.image_size % 2**self.d_layers:
                raise ValueError(
                    f"crop_size={self.image_size} is not a multiple of {2**self.d_layers}, which d_layers={self.d_layers} needs"
                )
            top, left, bottom, right = self.region
            if top >= bottom or left >= right:
                raise ValueError(f"region={list(self.region)}: top, left, bottom and right, from 0 to 1")
            return self

        @property
        def smooths(self) -> bool:
            return self.identity_features == "network" and self.lambda_smooth > 0

        def unused(self) -> dict[str, str]:
            found: dict[str, str] = {}
            if self.enhancement == "none":
                found["enhancement_steps"] = "enhancement=local or global"
            if self.enhancement != "local":
                found |= dict.fromkeys(("region", "lambda_inside"), "enhancement=local")
            if self.identity_features == "adaptive":
                found["lambda_smooth"] = "identity_features=network"
                found |= (
                    {}
                    if self.enhancement == "local"
                    else {"feature_network": "identity_features=network, or enhancement=local"}
                )
            if not self.smooths:
                found["denoiser_steps"] = "identity_features=network and smooth above 0"
            return found if self.lambda_id or self.smooths else found | {"feature_layers": "keep above 0"}

    config: Config
    data = DataKind.UNPAIRED
    batch = ("a", "b")
    routes = (Route("a", "b"),)
    inference_networks = ("T", "E")
    presets = {
        "paper": {},
        "adaptive": {"identity_features": "adaptive", "feature_network": "none", "lambda_smooth": 0.0},
        # What Choi et al. 2018 compared StarGAN with: CycleGAN's generator of 6 blocks, StarGAN's discriminator.
        "stargan-baseline": {"ngf": 64, "n_blocks": 6, "d_layers": 6, "d_max_channels": 2048, "d_head": "patches"},
    }
    traits = Traits(size_multiple=4)
    checks = CheckConfigs(
        tiny={
            "denoiser_steps": 2,
            "warmup_steps": 2,
            "enhancement_steps": 2,
            "enhancement": "local",
            "feature_layers": (1, 2),
            "lambda_id": 30.0,
            "ngf": 8,
            "n_blocks": 2,
            "ndf": 8,
            "lr": 2e-3,
        },
        learning={"steps": 250, "enhancement_steps": 250},
    )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.T = ResNet(c.channels, c.channels, c.ngf, c.n_blocks, c.norm)
        self.D = Discriminator(c.channels, c.image_size, c.ndf, c.d_max_channels, c.d_layers, c.d_head)
        self.E = Enhancer(c.channels, c.ngf, c.n_blocks, c.norm) if c.enhancement != "none" else None
        self.R = ResNet(c.channels, c.channels, c.ngf, c.n_blocks, c.norm) if c.smooths else None
        self.N = Denoiser(c.channels, c.ngf) if c.smooths else None
        initialise(self)
        if self.E is not None:
            self.E.begin()
        initialise(self.D, "kaiming")  # without a norm, those of 0.02 begin with maps a thirtieth as large

    def stages(self) -> list[Stage]:
        c, found = self.config, []
        if self.R is not None and self.N is not None:
            players = {"R": Player((self.R,), c.lr), "N": Player((self.N,), c.lr)}
            found.append(Stage("denoise", c.denoiser_steps, self.learn_to_smooth, players))
        if c.warmup_steps:
            found.append(Stage("warm", c.warmup_steps, self.learn_to_copy, {"T": Player((self.T,), c.lr)}))
        players = {"D": Player((self.D,), c.lr), "T": Player((self.T,), c.lr)}
        found.append(Stage("transfer", c.steps, self.updates, players))
        if self.E is not None:
            found.append(Stage("enhance", c.enhancement_steps, self.learn_to_enhance, {"E": Player((self.E,), c.lr)}))
        return found

    def learn_to_smooth(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """R makes an image again by what the network sees of it, with the flaws of that; N learns to take them away."""
        assert self.R is not None
        assert self.N is not None
        x = batch["a"]
        made = self.R(x)
        yield "R", {"content": self.unlike(self.seen(made), self.seen(x))}
        yield (
            "N",
            {"again": F.mse_loss(to_float32(self.N(made.detach())), x), "same": F.mse_loss(to_float32(self.N(x)), x)},
        )

    def learn_to_copy(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """The authors' later code begins with an auto-encoder too."""
        yield "T", {"same": F.mse_loss(to_float32(self.T(batch["a"])), batch["a"])}

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Equations 5 and 9: a step on D, then one on T. In DIAT-A one pass of D gives both of T's terms."""
        c, x, real = self.config, batch["a"], batch["b"]
        fake = self.T(x)
        yield "D", {"real": bce(self.D(real)[0], True), "fake": bce(self.D(fake.detach())[0], False)}
        judged, maps = self.D(fake)
        terms = {"gan": bce(judged, True)}
        if c.lambda_id:
            adaptive = c.identity_features == "adaptive"
            with without_graph():
                wanted = self.D(x)[1] if adaptive else self.seen(x)
            terms["identity"] = c.lambda_id * self.unlike(maps if adaptive else self.seen(fake), wanted)
        if self.N is not None:
            terms["smooth"] = c.lambda_smooth * F.mse_loss(to_float32(self.N(fake)), to_float32(fake))
        yield "T", terms

    def learn_to_enhance(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Section 3.3. Local: the source outside of the region, T inside. Global: a blurred source restored."""
        assert self.E is not None
        x = batch["a"]
        if self.config.enhancement == "global":
            yield "E", {"restored": F.mse_loss(to_float32(self.E(blurred(x))), x)}
            return
        with without_graph(), evaluating(self.T):
            made = self.T(x)
        better, mask = self.E(made), self.mask(x)
        outside = ((1 - mask) * (to_float32(better) - x)).square().mean()
        yield "E", {"outside": outside, **self.inside(mask * better, mask * made)}

    def inside(self, better: Tensor, made: Tensor) -> Terms:
        """Pixels, and where a network is lent its first two maps, shall be those that T made."""
        weights = self.config.lambda_inside
        terms = {"inside_0": weights[0] * feature_distance(better, made) / 2}
        if "features" in self.perceptual:
            with without_graph():
                wanted = self.seen(made)[:2]
            for at, (ours, theirs) in enumerate(zip(self.seen(better)[:2], wanted, strict=True), 1):
                terms[f"inside_{at}"] = weights[at] * feature_distance(ours, theirs) / 2
        return terms

    def mask(self, x: Tensor) -> Tensor:
        """1 in the region, 0 outside: (H, W)."""
        height, width = x.shape[-2:]
        top, left, bottom, right = self.config.region
        mask = x.new_zeros(height, width)
        mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = 1
        return mask

    def seen(self, x: Tensor) -> Sequence[Tensor]:
        """The maps of the network that is lent."""
        maps: Sequence[Tensor] = self.perceptual["features"](x)
        return maps

    def unlike(self, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
        """Equation 3: of each layer the squared distance over 2 C H W, added up."""
        places = [layer - 1 for layer in self.config.feature_layers]
        return torch.stack([feature_distance(ours[at], theirs[at]) / 2 for at in places]).sum()

    @torch.no_grad()
    def translate(self, x: Tensor) -> Tensor:
        with evaluating(self):
            made = self.T(x)
            return made if self.E is None else self.E(made).clamp(-1, 1)


class Enhancer(nn.Module):
    """What T made, and what is to be added to it: nothing at first, so that it does no harm before it has learned."""

    def __init__(self, channels: int, width: int, blocks: int, norm: Norm) -> None:
        super().__init__()
        self.change = ResNet(channels, channels, width, blocks, norm)

    def begin(self) -> None:
        *_, last = (layer for layer in self.change.head if isinstance(layer, nn.Conv2d))
        nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.change(x)


class Discriminator(nn.Module):
    """(N, C, size, size) to logits, and the maps behind each convolution, finest first. No norm: samples stay apart."""

    def __init__(self, channels: int, size: int, width: int, most: int, depth: int, head: str) -> None:
        super().__init__()
        widths = [channels, *(min(width << level, most) for level in range(depth))]
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(narrow, wide, 4, 2, 1), nn.LeakyReLU(0.2)) for narrow, wide in pairwise(widths)
        )
        dense = head == "dense"
        self.head = nn.Conv2d(widths[-1], 1, size >> depth) if dense else nn.Conv2d(widths[-1], 1, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = [x := layer(x) for layer in self.body]
        return self.head(x), maps


class Denoiser(nn.Sequential):
    """Two 3x3 convolutions."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(nn.Conv2d(channels, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, channels, 3, 1, 1))


def blurred(x: Tensor) -> Tensor:
    """Half of its size and back, by bicubic filters: what global enhancement learns to restore."""
    return F.interpolate(shrunk(x, 2), x.shape[-2:], mode="bicubic", align_corners=False).clamp(-1, 1)
