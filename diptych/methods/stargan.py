"""StarGAN: "Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation", Choi et al. 2018.

One generator is told which domain, or which attributes, its image should have. One discriminator tells real from made,
and names the labels of what it sees. Several data sets with labels of their own train together. arXiv 1711.09020.

    diptych train stargan --data celeba attributes=[Black_Hair,Blond_Hair,Male] crop_size=128 batch_size=16 -o runs/hair
"""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from diptych.contract import (
    Batch,
    CheckConfigs,
    Clock,
    DataKind,
    Labels,
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
from diptych.losses.adversarial import gradient_penalty, to_float32, wasserstein
from diptych.methods.label_controls import controls, wanted
from diptych.networks.layers import without_graph

DEEPEST = 6  # halvings of the published discriminator


class StarGAN(Method):
    class Config(LinearDecay, MethodConfig):
        """The losses and settings of the paper; a weight of 0 turns its term off."""

        steps: int = Field(
            200_000, ge=1, description="discriminator steps; the generator is updated in every `n_critic`-th"
        )
        channels: Annotated[int, Setting(channels_of=("image",))] = Field(
            3, ge=1, le=1024, description="number of channels of the images; read from the data"
        )
        labels: Annotated[tuple[Labels, ...], Setting(labels_of=("label",))] = Field(
            (Labels(names=("a", "b")),),
            min_length=1,
            max_length=100,
            description="classes or attributes of each data set; read from the data",
        )
        image_size: Annotated[int, Setting(follows="crop_size")] = Field(
            128, ge=8, le=8192, description="side of the training images in pixels; follows crop_size; a power of two"
        )
        ngf: int = Field(64, ge=1, le=1024, description="channels of the generator's first layer")
        n_blocks: int = Field(6, ge=1, le=100, description="residual blocks of the generator")
        ndf: int = Field(64, ge=1, le=1024, description="channels of the discriminator's first layer")
        d_layers: int | None = Field(
            None,
            ge=1,
            le=13,
            description="stride-2 convolutions of the discriminator; default 6, fewer below 64 pixels",
        )
        lambda_cls: Annotated[float, Setting(symbol="λ_cls")] = Field(
            1.0, ge=0, description="weight of the domain classification losses (paper: 1)"
        )
        lambda_rec: Annotated[float, Setting(symbol="λ_rec")] = Field(
            10.0, ge=0, description="weight of the reconstruction loss (paper: 10)"
        )
        lambda_identity: Annotated[float, Setting(symbol="λ_idt")] = Field(
            0.0, ge=0, description="weight of the identity loss towards the image's own labels (ours; paper: none)"
        )
        lambda_gp: Annotated[float, Setting(symbol="λ_gp")] = Field(
            10.0, ge=0, description="weight of the gradient penalty (paper: 10)"
        )
        n_critic: Annotated[int, Setting(symbol="n_critic")] = Field(
            5, ge=1, le=1000, description="discriminator steps per generator step"
        )
        target_labels: Literal["shuffled", "next"] = Field(
            "shuffled", description="labels to translate to: those of the batch shuffled, or each image's next class"
        )
        reuse: Literal["none", "exact"] = Field(
            "exact",
            description="exact: skip forward passes that the published order computes twice, "
            "with equal results; or none",
        )
        lr: float = Field(1e-4, gt=0, description="learning rate of Adam")

        @model_validator(mode="after")
        def _size_can_be_halved(self) -> "StarGAN.Config":
            if self.image_size & (self.image_size - 1):
                below = 1 << (self.image_size.bit_length() - 1)
                raise ValueError(
                    f"image_size={self.image_size}: the discriminator takes images whose side is a power of two: "
                    f"set crop_size={below} or crop_size={2 * below}"
                )
            if self.image_size >> self.halvings == 0:
                raise ValueError(
                    f"d_layers={self.d_layers}: {self.image_size} pixels can be halved {self.most_halvings} times"
                )
            return self

        @model_validator(mode="after")
        def _names_are_told_apart(self) -> "StarGAN.Config":
            names = [name for labels in self.labels for name in labels.names]
            if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
                raise ValueError(f"two data sets have a label called {twice[0]!r}: rename it in one of them")
            return self

        @property
        def most_halvings(self) -> int:
            return self.image_size.bit_length() - 1

        @property
        def halvings(self) -> int:
            """Of the discriminator."""
            return self.d_layers or min(DEEPEST, self.most_halvings)

    config: Config
    data = DataKind.LABELLED
    batch = ("image", "label")
    inference_networks = ("G",)
    presets = {
        "paper": {},
        "repo": {"lr_decay_start": 1.0},  # their schedule takes off a thousandth of the step size in all
    }
    traits = Traits(size_multiple=4, multi_domain=True)
    checks = CheckConfigs(
        tiny={
            "labels": (Labels(names=("sans", "sans-bold")),),
            "image_size": 32,
            "ngf": 8,
            "n_blocks": 2,
            "ndf": 8,
            "d_layers": 4,
            "n_critic": 2,
            "lr": 2e-3,
        },
        learning={"steps": 1000},
        independent={"lambda_gp": 0.0, "target_labels": "next"},
    )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.slots = sum(map(len, c.labels))  # one for each label of each set
        mask = len(c.labels) if len(c.labels) > 1 else 0
        self.G = Generator(c.channels, self.slots + mask, c.ngf, c.n_blocks)
        self.D = Discriminator(c.channels, self.slots, c.image_size, c.ndf, c.halvings)
        self.controls = tuple(controls(c.labels))
        self.routes = tuple(
            Route("image", "image", {"domain": name}, ground_truth=f"image of {name}")
            if labels.kind == "class"
            else Route("image", "image", {"flip": name})
            for labels in c.labels
            for name in labels.names
        )

    def stages(self) -> list[Stage]:
        players = {"D": Player((self.D,), self.config.lr, schedule=self.config.schedule)}
        players["G"] = Player((self.G,), self.config.lr, schedule=self.config.schedule)
        return [Stage("train", self.config.steps, self.updates, players, self.schedule_key)]

    def schedule_key(self, clock: Clock) -> tuple[int, bool]:
        """Which data set this step is about, and whether the generator moves in it."""
        rounds, at = divmod(clock.step, len(self.config.labels))
        return at, rounds % self.config.n_critic == self.config.n_critic - 1

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """One step on D; at its turn, one on G. Both see the same translations, so one pass of G serves both.

        Where G does not move its pass needs no graph. `reuse=none` is the published order, which does all anew.
        """
        x, label = batch["image"], batch["label"]
        at, moves = self.schedule_key(clock)
        aim = self.aims(label, at)
        code = self.code(self.marks(aim, at, x), at)
        with nullcontext() if moves or self.config.reuse == "none" else without_graph():
            fake = self.G(x, code)
        yield "D", self.contest(x, label, fake.detach(), at)
        if moves:
            if self.config.reuse == "none":
                fake = self.G(x, code)
            yield "G", self.make(x, label, fake, aim, at)

    def contest(self, x: Tensor, label: Tensor, fake: Tensor, at: int) -> Terms:
        """Wasserstein terms, the labels of real images, and the penalty on lines between real and made."""
        judged, named = self.D(x)
        terms = {"real": wasserstein(judged, True), "fake": wasserstein(self.D(fake)[0], False)}
        if self.config.lambda_cls:
            terms["class"] = self.config.lambda_cls * self.misnamed(named, label, at)
        if self.config.lambda_gp:
            penalty = gradient_penalty(lambda between: self.D(between)[0], x, fake, patches="sum")
            terms["penalty"] = self.config.lambda_gp * penalty
        return terms

    def make(self, x: Tensor, label: Tensor, fake: Tensor, aim: Tensor, at: int) -> Terms:
        """To be taken for real, for what was asked, and to lead back to the image one started from."""
        judged, named = self.D(fake)
        terms = {"gan": wasserstein(judged, True)}
        if self.config.lambda_cls:
            terms["class"] = self.config.lambda_cls * self.misnamed(named, aim, at)
        if self.config.lambda_rec:
            back = self.G(fake, self.code(self.marks(label, at, x), at))
            terms["reconstruct"] = self.config.lambda_rec * F.l1_loss(back, x)
        if self.config.lambda_identity:
            same = (aim == label).reshape(len(x), -1).all(1)[:, None, None, None]
            terms["identity"] = self.config.lambda_identity * F.l1_loss(torch.where(same, fake, x), x)
        return terms

    def misnamed(self, logits: Tensor, label: Tensor, at: int) -> Tensor:
        """Cross entropy of a class; of attributes the binary one, summed over them. Other sets' logits do not count."""
        labels, start = self.config.labels[at], self.start(at)
        own = to_float32(logits[:, start : start + len(labels)])
        if labels.kind == "class":
            return F.cross_entropy(own, label)
        return F.binary_cross_entropy_with_logits(own, label.to(own.dtype), reduction="sum") / len(own)

    def aims(self, label: Tensor, at: int) -> Tensor:
        """What each image of the batch is translated to: labels like those given."""
        if self.config.target_labels == "shuffled":
            return label[torch.randperm(len(label), device=label.device)]
        labels = self.config.labels[at]
        return (label + 1) % len(labels) if labels.kind == "class" else 1 - label

    def marks(self, label: Tensor, at: int, like: Tensor) -> Tensor:
        """Labels of one set as (N, K) of 0 and 1, in the kind of number of `like`."""
        labels = self.config.labels[at]
        if labels.kind == "class":
            label = label[:, None] == torch.arange(len(labels), device=label.device)
        return label.to(like.dtype)

    def code(self, marks: Tensor, at: int) -> Tensor:
        """What G reads: the marks in the slots of their set, 0 in those of others; of several sets, which it is."""
        start, several = self.start(at), len(self.config.labels)
        slots = F.pad(marks, (start, self.slots - start - marks.shape[1]))
        if several == 1:
            return slots
        return torch.cat([slots, F.pad(marks.new_ones(len(marks), 1), (at, several - 1 - at))], 1)

    def start(self, at: int) -> int:
        """The first slot of a data set."""
        return sum(map(len, self.config.labels[:at]))

    @torch.no_grad()
    def translate(self, x: Tensor, domain: str = "", has: str = "", flip: str = "") -> Tensor:
        """To `domain`; or with the attributes that x `has`, some of them changed by `flip`. ConfigError."""
        at, names = wanted(self.config.labels, domain, has, flip)
        marks = torch.tensor([[float(name in names) for name in self.config.labels[at].names]])
        code = self.code(marks.to(x.device, x.dtype), at)
        return self.G(x, code.expand(len(x), -1))

    def source_controls(self, label: Tensor, route: Route) -> dict[str, Any]:
        """Which attributes an image has, from its label (K,); nothing where those are not what changes."""
        first = self.config.labels[0]
        if first.kind == "class" or route.controls.get("flip") not in first.names:
            return {}
        return {"has": ",".join(name for name, on in zip(first.names, label.tolist(), strict=True) if on)}


class Generator(nn.Module):
    """(N, C, H, W) and a code (N, L) to (N, C, H, W) in [-1, 1]; H and W are multiples of 4. Fully convolutional.

    Zero padding is what lets the code in: a map of one value only shifts what a convolution gives, and an InstanceNorm
    takes that shift away; where the map meets zeros it is more than a shift.
    """

    def __init__(self, channels: int, labels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels + labels, width, 7, 1, 3, bias=False), *normed(width))
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False), *normed(2 * w)) for w in (width, 2 * width)
        )
        self.blocks = nn.ModuleList(Block(4 * width) for _ in range(blocks))
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(2 * w, w, 4, 2, 1, bias=False), *normed(w)) for w in (2 * width, width)
        )
        self.head = nn.Sequential(nn.Conv2d(width, channels, 7, 1, 3, bias=False), nn.Tanh())

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        x = self.stem(torch.cat([x, code[..., None, None].expand(-1, -1, *x.shape[2:])], 1))
        for layer in (*self.down, *self.blocks, *self.up):
            x = layer(x)
        return self.head(x)


def normed(channels: int) -> tuple[nn.Module, nn.Module]:
    """Statistics are always of the image itself: the published code keeps running ones too, and never uses them."""
    return nn.InstanceNorm2d(channels, affine=True), nn.ReLU()


class Block(nn.Module):
    """x + conv(conv(x)), with no activation behind the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            *normed(channels),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            normed(channels)[0],
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Discriminator(nn.Module):
    """(N, C, size, size) to patches of scores (N, 1, h, w) and logits of labels (N, L); no norm, so samples stay apart.

    The second head spans the whole map, so its kernel is size / 2^depth wide.
    """

    def __init__(self, channels: int, labels: int, size: int, width: int, depth: int) -> None:
        super().__init__()
        self.size = size
        layers: list[nn.Module] = []
        for level in range(depth):
            layers += [nn.Conv2d(channels, width << level, 4, 2, 1), nn.LeakyReLU(0.01)]
            channels = width << level
        self.body = nn.Sequential(*layers)
        self.source = nn.Conv2d(channels, 1, 3, 1, 1, bias=False)
        self.label = nn.Conv2d(channels, labels, size >> depth, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[-2:] != (self.size, self.size):
            raise ConfigError(
                f"images of {x.shape[-1]}x{x.shape[-2]} pixels; image_size={self.size}: give crop_size={self.size}"
            )
        h = self.body(x)
        return self.source(h), self.label(h).flatten(1)
