"""StarGAN: "Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation", Choi et al. 2018.

One generator, conditioned on the target domain or attributes, and one discriminator, which also classifies them.
Several data sets with labels of their own can be trained on jointly, with a mask vector. arXiv 1711.09020.

    diptych train stargan --data celeba attributes=[Black_Hair,Blond_Hair,Male] crop_size=128 batch_size=16 -o runs/hair
"""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from diptych.contract import (
    Batch,
    CheckConfigs,
    Clock,
    DataKind,
    Inputs,
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
from diptych.losses.adversarial import gradient_penalty, to_float32, wasserstein
from diptych.methods.label_controls import controls, wanted
from diptych.networks.layers import without_graph
from diptych.networks.stargan import Discriminator, Generator

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
                    f"crop_size={self.image_size}: the discriminator takes images whose side is a power of two: "
                    f"set crop_size={below} or crop_size={2 * below}"
                )
            if self.image_size >> self.halvings == 0:
                raise ValueError(
                    f"d_layers={self.d_layers}: {self.image_size} pixels can be halved {self.most_halvings} times"
                )
            return self

        @model_validator(mode="after")
        def _names_are_unique(self) -> "StarGAN.Config":
            names = [name for labels in self.labels for name in labels.names]
            if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
                raise ValueError(f"two data sets have a label {twice[0]!r}: rename it in one of them")
            return self

        @property
        def most_halvings(self) -> int:
            """The number of times that an image can be halved."""
            return self.image_size.bit_length() - 1

        @property
        def halvings(self) -> int:
            """The number of stride-2 convolutions of the discriminator."""
            return self.d_layers or min(DEEPEST, self.most_halvings)

    config: Config
    data = DataKind.LABELLED
    batch = ("image", "label")
    data_defaults = {"interpolation": "bilinear"}  # of the public code
    inference_networks = ("G",)
    presets = {
        "paper": {},
        "repo": {"lr_decay_start": 1.0},  # the authors' schedule decays by a thousandth in all
    }
    traits = Traits(size_multiple=4, multi_domain=True)
    checks = CheckConfigs(
        tiny={
            "labels": (Labels(names=("sans", "sans-bold")),), "image_size": 32, "ngf": 8, "n_blocks": 2,
            "ndf": 8, "d_layers": 4, "n_critic": 2, "lr": 2e-3,
        },
        learning={"n_critic": 1, "lr": 4e-3, "steps": 300},
        independent={"lambda_gp": 0.0, "target_labels": "next"},
    )  # fmt: skip

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.num_labels = sum(map(len, c.labels))  # of all data sets
        mask = len(c.labels) if len(c.labels) > 1 else 0
        self.G = Generator(c.channels, self.num_labels + mask, c.ngf, c.n_blocks)
        self.D = Discriminator(c.channels, self.num_labels, c.image_size, c.ndf, c.halvings)
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
        """Return the index of the data set of this step, and whether the generator is updated."""
        rounds, dataset = divmod(clock.step, len(self.config.labels))
        return dataset, rounds % self.config.n_critic == self.config.n_critic - 1

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """One step on D; in every `n_critic`-th step also one on G, with the same translations.

        With `reuse=none` G translates anew for its own step, and builds a graph in each, as the public code does.
        """
        x, label = batch["image"], batch["label"]
        dataset, updates_g = self.schedule_key(clock)
        target = self.choose_targets(label, dataset)
        condition = self.condition(self.one_hot(target, dataset, x), dataset)
        with nullcontext() if updates_g or self.config.reuse == "none" else without_graph():
            fake = self.G(x, condition)
        yield "D", self.discriminator_terms(x, label, fake.detach(), dataset)
        if updates_g:
            if self.config.reuse == "none":
                fake = self.G(x, condition)
            yield "G", self.generator_terms(x, label, fake, target, dataset)

    def discriminator_terms(self, x: Tensor, label: Tensor, fake: Tensor, dataset: int) -> Terms:
        """Return D's Wasserstein losses, its classification loss on real images, and the gradient penalty."""
        scores, class_logits = self.D(x)
        terms = {"real": wasserstein(scores, True), "fake": wasserstein(self.D(fake)[0], False)}
        if self.config.lambda_cls:
            terms["class"] = self.config.lambda_cls * self.classification_loss(class_logits, label, dataset)
        if self.config.lambda_gp:
            penalty = gradient_penalty(lambda mix: self.D(mix)[0], x, fake, patches="sum")
            terms["penalty"] = self.config.lambda_gp * penalty
        return terms

    def generator_terms(self, x: Tensor, label: Tensor, fake: Tensor, target: Tensor, dataset: int) -> Terms:
        """Return G's adversarial, classification, reconstruction and identity losses."""
        scores, class_logits = self.D(fake)
        terms = {"gan": wasserstein(scores, True)}
        if self.config.lambda_cls:
            terms["class"] = self.config.lambda_cls * self.classification_loss(class_logits, target, dataset)
        if self.config.lambda_rec:
            reconstruction = self.G(fake, self.condition(self.one_hot(label, dataset, x), dataset))
            terms["reconstruct"] = self.config.lambda_rec * F.l1_loss(reconstruction, x)
        if self.config.lambda_identity:
            unchanged = (target == label).reshape(len(x), -1).all(1)[:, None, None, None]
            terms["identity"] = self.config.lambda_identity * F.l1_loss(torch.where(unchanged, fake, x), x)
        return terms

    def classification_loss(self, logits: Tensor, label: Tensor, dataset: int) -> Tensor:
        """Return the cross entropy of classes, or the binary one of attributes, summed over them, in one data set."""
        labels, start = self.config.labels[dataset], self.offset(dataset)
        own = to_float32(logits[:, start : start + len(labels)])
        if labels.kind == "class":
            return F.cross_entropy(own, label)
        return F.binary_cross_entropy_with_logits(own, label.to(own.dtype), reduction="sum") / len(own)

    def choose_targets(self, label: Tensor, dataset: int) -> Tensor:
        """Return the labels to translate each image of the batch to, in the form of `label`."""
        if self.config.target_labels == "shuffled":
            return label[torch.randperm(len(label), device=label.device)]
        labels = self.config.labels[dataset]
        return (label + 1) % len(labels) if labels.kind == "class" else 1 - label

    def one_hot(self, label: Tensor, dataset: int, like: Tensor) -> Tensor:
        """Return labels of one data set as (N, K) of 0 and 1, with the dtype of `like`."""
        labels = self.config.labels[dataset]
        if labels.kind == "class":
            label = label[:, None] == torch.arange(len(labels), device=label.device)
        return label.to(like.dtype)

    def condition(self, labels: Tensor, dataset: int) -> Tensor:
        """Return G's condition: the labels (N, K) of a data set, 0 for those of others, and the mask vector if any."""
        start, datasets = self.offset(dataset), len(self.config.labels)
        padded = F.pad(labels, (start, self.num_labels - start - labels.shape[1]))
        if datasets == 1:
            return padded
        mask = F.pad(labels.new_ones(len(labels), 1), (dataset, datasets - 1 - dataset))
        return torch.cat([padded, mask], 1)

    def offset(self, dataset: int) -> int:
        """Return the index of the first label of a data set."""
        return sum(map(len, self.config.labels[:dataset]))

    def encode_controls(self, x: Tensor, domain: str = "", has: str = "", flip: str = "") -> Inputs:
        """Return the labels of `domain`, or the attributes that x `has` after `flip`. Raises ConfigError."""
        dataset, names = wanted(self.config.labels, domain, has, flip)
        labels = torch.tensor([[float(name in names) for name in self.config.labels[dataset].names]])
        condition = self.condition(labels.to(x.device, x.dtype), dataset)
        return {"labels": condition.expand(len(x), -1)}

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.G(x, labels)

    def source_controls(self, label: Tensor, route: Route) -> dict[str, Any]:
        """Return the attributes of an image, from its label (K,); nothing on routes that do not flip one of them."""
        first = self.config.labels[0]
        if first.kind == "class" or route.controls.get("flip") not in first.names:
            return {}
        return {"has": ",".join(name for name, on in zip(first.names, label.tolist(), strict=True) if on)}
