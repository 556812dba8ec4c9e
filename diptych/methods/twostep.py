"""Two steps: "Unsupervised Image-to-Image Translation with Generative Adversarial Networks", Dong et al. 2017,
arXiv 1701.02676.

First an AC-GAN learns to draw images of each class out of noise. Then it is frozen, and an encoder learns to find the
noise again in what it drew, which is data without end. To translate: find the code of an image, and draw another class.

    diptych train twostep --data celeba "attributes=[Male]" resize_mode=center_square crop_size=64 batch_size=64 -o runs/faces
"""

from collections.abc import Iterator
from typing import Annotated, Any

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
from diptych.methods.label_controls import controls, wanted
from diptych.networks.dcgan import DCGANGenerator, DCGANTrunk
from diptych.networks.latents import Prior, latent_codes, sample_latents
from diptych.networks.layers import Norm, evaluating, initialise, without_graph


class TwoStep(Method):
    class Config(MethodConfig):
        """The two stages of section 2, and the sizes of the public code, which the paper's figures agree with."""

        pretrain_steps: int = Field(
            60_000, ge=1, description="steps of the first stage, the AC-GAN; each updates D once and G twice"
        )
        steps: int = Field(30_000, ge=1, description="steps of the second stage, which trains the encoder E")
        channels: Annotated[int, Setting(channels_of=("image",))] = Field(
            3, ge=1, le=1024, description="number of channels of the images; read from the data"
        )
        labels: Annotated[tuple[Labels, ...], Setting(labels_of=("label",))] = Field(
            (Labels(names=("domain 1", "domain 2")),),
            min_length=1,
            max_length=1,
            description="the classes, or one attribute that an image has or not; read from the data",
        )
        image_size: Annotated[int, Setting(follows="crop_size")] = Field(
            64, ge=16, le=1024, description="side of the training images in pixels; follows crop_size; a power of two"
        )
        latent_dim: int = Field(100, ge=1, le=65_536, description="dimension of the latent code")
        prior: Prior = Field(
            "uniform",
            description="distribution of the latent code: uniform in [-1, 1], and E ends in "
            "tanh; or normal, and E is linear",
        )
        embedding_dim: int = Field(5, ge=1, le=1024, description="dimension of the class embedding")
        ngf: int = Field(128, ge=1, le=1024, description="channels of G before its last layer")
        ndf: int = Field(64, ge=1, le=1024, description="channels after the first layer of D and E")
        norm: Norm = Field("batch", description="normalisation layers of all networks")
        lambda_cls: Annotated[float, Setting(symbol="λ_cls")] = Field(
            1.0, gt=0, description="weight of the classification losses (paper: 1)"
        )
        lr: float = Field(2e-4, gt=0, description="learning rate of Adam of G and D")
        e_lr: float = Field(1e-4, gt=0, description="learning rate of Adam of E")

        @model_validator(mode="after")
        def _settings_fit(self) -> "TwoStep.Config":
            if self.image_size & (self.image_size - 1):
                raise ValueError(
                    f"image_size={self.image_size} is no power of two: set crop_size={1 << (self.image_size.bit_length() - 1)}"
                )
            if self.labels[0].kind == "attributes" and len(self.labels[0]) > 1:
                raise ValueError(
                    f"an image is of one class: choose one attribute, attributes=[{self.labels[0].names[0]}]"
                )
            return self

    config: Config
    data = DataKind.LABELLED
    batch = ("image", "label")
    inference_networks = ("G", "E")
    presets = {"paper": {}, "repo": {"prior": "normal"}}
    traits = Traits(fixed_size=True, unconditional=True, multi_domain=True, balance_classes=True)
    checks = CheckConfigs(
        tiny={"pretrain_steps": 2, "latent_dim": 8, "ngf": 16, "ndf": 8, "lr": 1e-3, "e_lr": 3e-3},
        learning={"pretrain_steps": 60, "steps": 250},
        independent={
            "norm": "none",
        },
    )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c, labels = config, config.labels[0]
        self.classes = len(labels) if labels.kind == "class" else 2
        self.G = DCGANGenerator(c.latent_dim, self.classes, c.embedding_dim, c.channels, c.image_size, c.ngf, c.norm)
        self.D = Critic(c.channels, self.classes, c.image_size, c.ndf, c.norm)
        self.E = Encoder(c.channels, c.latent_dim, c.image_size, c.ndf, c.norm, c.prior)
        initialise(self)
        self.controls = tuple(controls(c.labels))
        self.routes = tuple(
            Route("image", "image", {"domain": name}, ground_truth=f"image of {name}")
            if labels.kind == "class"
            else Route("image", "image", {"flip": name})
            for name in labels.names
        )

    def stages(self) -> list[Stage]:
        c = self.config
        players = {"D": Player((self.D,), c.lr), "G": Player((self.G,), c.lr)}
        return [
            Stage("gan", c.pretrain_steps, self.learn_to_draw, players),
            Stage("encoder", c.steps, self.learn_to_find, {"E": Player((self.E,), c.e_lr)}),
        ]

    def learn_to_draw(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Algorithm of the public code: D once and G twice, on the same noise and labels. D names real images alone."""
        x, label = batch["image"], self.numbers(batch["label"])
        code = sample_latents(self.config.prior, len(x), self.config.latent_dim, x)
        fake = self.G(code, label)
        judged, named = self.D(x)
        yield (
            "D",
            {
                "real": bce(judged, True),
                "fake": bce(self.D(fake.detach())[0], False),
                "class": self.config.lambda_cls * F.cross_entropy(to_float32(named), label),
            },
        )
        yield "G", self.taken_for_real(fake, label)
        yield "G", self.taken_for_real(self.G(code, label), label)

    def taken_for_real(self, fake: Tensor, label: Tensor) -> Terms:
        judged, named = self.D(fake)
        return {"gan": bce(judged, True), "class": self.config.lambda_cls * F.cross_entropy(to_float32(named), label)}

    def learn_to_find(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """In what G draws, by running statistics; of the batch its classes alone are used."""
        x, label = batch["image"], self.numbers(batch["label"])
        code = sample_latents(self.config.prior, len(x), self.config.latent_dim, x)
        yield "E", {"code": F.mse_loss(to_float32(self.E(self.drawn(code, label))), code)}

    def drawn(self, code: Tensor, label: Tensor) -> Tensor:
        """Codes (N, latent) as images of these classes, by the frozen G."""
        with without_graph(), evaluating(self.G):
            return self.G(code, label)

    def numbers(self, label: Tensor) -> Tensor:
        """Class numbers (N,): those of the data, or of one attribute (N, 1) whether it is there."""
        return label if label.dim() == 1 else label[:, 0]

    def asked(self, count: int, **words: str) -> Tensor:
        """The class that a person names, `count` times. ConfigError."""
        labels = self.config.labels
        _, names = wanted(labels, words.get("domain", ""), words.get("has", ""), words.get("flip", ""))
        one = [name in names for name in labels[0].names]
        number = one.index(True) if labels[0].kind == "class" else int(one[0])
        return torch.full((count,), number, device=next(self.G.parameters()).device)

    @torch.no_grad()
    def translate(self, x: Tensor, domain: str = "", has: str = "", flip: str = "") -> Tensor:
        """G(E(x), class), where the class is `domain`, or what x `has` after `flip`."""
        with evaluating(self.E):
            code = self.E(x)
        return self.drawn(code, self.asked(len(x), domain=domain, has=has, flip=flip))

    @torch.no_grad()
    def sample(self, numbers: range, seed: int = 0, domain: str = "", has: str = "", flip: str = "") -> Tensor:
        code = latent_codes(self.config.prior, numbers, self.config.latent_dim, seed).to(next(self.G.parameters()))
        return self.drawn(code, self.asked(len(code), domain=domain, has=has, flip=flip))

    def source_controls(self, label: Tensor, route: Route) -> dict[str, Any]:
        """Whether an image has the attribute, from its label (1,)."""
        labels = self.config.labels[0]
        return {} if labels.kind == "class" else {"has": labels.names[0] if int(label[0]) else ""}

    @torch.no_grad()
    def validation_errors(self, batch: Batch) -> dict[str, float]:
        """How far E is from the code of what G drew: the mean squared error, as a share of what answering 0 gets."""
        like, c = next(self.G.parameters()), self.config
        code = latent_codes(c.prior, range(64), c.latent_dim, seed=1).to(like)
        label = torch.arange(len(code), device=like.device) % self.classes
        with evaluating(self.E):
            found = self.E(self.drawn(code, label))
        return {"recovery": float(F.mse_loss(found.float(), code.float()) / code.float().square().mean())}


class Critic(nn.Module):
    """Images to whether they are real (N, 1), and logits of classes (N, K)."""

    def __init__(self, channels: int, classes: int, size: int, width: int, norm: Norm) -> None:
        super().__init__()
        self.trunk = DCGANTrunk(channels, size, width, norm)
        self.real, self.named = nn.Linear(self.trunk.size, 1), nn.Linear(self.trunk.size, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.real(h), self.named(h)


class Encoder(nn.Module):
    """Images to codes (N, latent): D's trunk with weights of its own."""

    def __init__(self, channels: int, latent: int, size: int, width: int, norm: Norm, prior: Prior) -> None:
        super().__init__()
        self.trunk = DCGANTrunk(channels, size, width, norm)
        self.head = nn.Linear(self.trunk.size, latent)
        self.end = nn.Tanh() if prior == "uniform" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.head(self.trunk(x)))
