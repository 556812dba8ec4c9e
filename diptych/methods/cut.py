"""CUT: "Contrastive Learning for Unpaired Image-to-Image Translation", Park et al. 2020, arXiv 2007.15651.

One generator for one direction, trained on unpaired images: by a contrastive loss on features of its own encoder, a
patch of the translation must match the patch of the source at its location. FastCUT is a lighter variant.

    diptych train cut --data horse2zebra -o runs/zebras
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from diptych.contract import (
    AveragedWeights,
    Batch,
    CheckConfigs,
    Clock,
    DataKind,
    LinearDecay,
    Method,
    MethodConfig,
    Player,
    Route,
    Setting,
    Stage,
    Traits,
    Update,
)
from diptych.losses.adversarial import lsgan
from diptych.losses.patchnce import TEMPERATURE, patchnce
from diptych.networks.layers import evaluating, initialise, without_graph
from diptych.networks.patchgan import PatchGAN, ReceptiveField
from diptych.networks.resnet import ResNet, num_feature_blocks

EPS = 1e-7  # added to the norm of embeddings


class CUT(Method):
    class Config(LinearDecay, AveragedWeights, MethodConfig):
        """The losses of section 3, and the two presets of section 4.1."""

        steps: int = Field(
            480_000, ge=1, description="training steps: 400 epochs of about 1,200 images at batch size 1"
        )
        channels: Annotated[int, Setting(channels_of=("a", "b"))] = Field(
            3, ge=1, le=1024, description="number of channels of both domains; read from the data"
        )
        lambda_gan: Annotated[float, Setting(symbol="λ_GAN")] = Field(
            1.0, gt=0, description="weight of the GAN loss (paper: 1)"
        )
        lambda_nce: Annotated[float, Setting(symbol="λ_X, λ_Y")] = Field(
            1.0, gt=0, description="weight of the PatchNCE loss (CUT: 1, FastCUT: 10)"
        )
        nce_idt: bool = Field(
            True, description="PatchNCE loss on images of the target domain too; both then have half the weight"
        )
        flip_equivariance: bool = Field(
            False, description="flip the source in half of the steps, and its features back (FastCUT)"
        )
        temperature: Annotated[float, Setting(symbol="τ")] = Field(
            TEMPERATURE, gt=0, description="temperature of the PatchNCE loss"
        )
        num_patches: Annotated[int, Setting(symbol="S_l")] = Field(
            256, ge=2, le=65_536, description="patches sampled per layer, at the same locations in all images"
        )
        nce_dim: int = Field(256, ge=1, le=4096, description="dimension of the patch embeddings")
        n_blocks: int = Field(9, ge=1, le=100, description="residual blocks of the generator")
        norm: Literal["instance", "none"] = Field("instance", description="normalisation layers of the generator")
        ngf: int = Field(64, ge=1, le=1024, description="channels of the generator's first layer")
        receptive_field: ReceptiveField = Field(70, description="receptive field of the patch discriminator in pixels")
        ndf: int = Field(64, ge=1, le=1024, description="channels of the discriminator's first layer")
        reuse: Literal["none", "exact"] = Field(
            "exact",
            description="exact: take the source's features from its translation, which changes "
            "nothing without flip_equivariance; or none",
        )
        lr: float = Field(2e-4, gt=0, description="learning rate of Adam")

        def unused(self) -> dict[str, str]:
            return {"reuse": "flip_equivariance=false"} if self.flip_equivariance else {}

    config: Config
    data = DataKind.UNPAIRED
    batch = ("a", "b")
    routes = (Route("a", "b"),)
    inference_networks = ("G",)
    presets = {
        "paper": {},
        "fast": {
            "lambda_nce": 10.0,
            "nce_idt": False,
            "flip_equivariance": True,
            "lr_decay_start": 0.75,
            "steps": 240_000,
        },
    }
    traits = Traits(size_multiple=4)
    checks = CheckConfigs(
        tiny={
            "ngf": 8, "n_blocks": 5, "ndf": 8, "receptive_field": 16, "num_patches": 64, "nce_dim": 32,
            "lr": 2e-3, "ema_decay": 0.9,
        },
        learning={"n_blocks": 1, "lr": 4e-3, "steps": 200},
        independent={"n_blocks": 1, "num_patches": 65_536},  # all of them
    )  # fmt: skip

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.G = ResNet(c.channels, c.channels, c.ngf, c.n_blocks, c.norm, blur=True)
        self.D = PatchGAN(c.channels, c.receptive_field, c.ndf, "instance", blur=True)
        self.F = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, c.nce_dim), nn.ReLU(), nn.Linear(c.nce_dim, c.nce_dim))
            for channels in (c.channels, 2 * c.ngf, *[4 * c.ngf] * (1 + num_feature_blocks(c.n_blocks)))
        )
        initialise(self, "xavier")

    def stages(self) -> list[Stage]:
        nets: dict[str, nn.Module] = {"D": self.D, "G": self.G, "F": self.F}
        players = {name: Player((net,), self.config.lr, schedule=self.config.schedule) for name, net in nets.items()}
        return [Stage("train", self.config.steps, self.updates, players)]

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """One step on D, then one on G and the projection heads F, with the same images."""
        c, x, y = self.config, batch["a"], batch["b"]
        flipped = torch.rand((), device=x.device) < 0.5 if c.flip_equivariance else None
        inputs = torch.cat([x, y]) if c.nce_idt else x
        features = self.G.encode(flip_if(inputs, flipped))
        outputs = self.G.decode(features[-1])
        fake = outputs[: len(x)]
        real_logits, fake_logits = self.D(torch.cat([y, fake.detach()])).split([len(y), len(x)])
        yield "D", {"real": lsgan(real_logits, True) / 2, "fake": lsgan(fake_logits, False) / 2}
        keys = features[:-1] if c.reuse == "exact" and flipped is None else self.source_features(inputs)
        queries = [flip_if(layer, flipped) for layer in self.G.encode(outputs)[:-1]]
        weight = c.lambda_nce / 2 if c.nce_idt else c.lambda_nce
        parts = {"nce": slice(len(x))}
        if c.nce_idt:
            parts["nce_y"] = slice(len(x), None)
        terms = {"gan": c.lambda_gan * lsgan(self.D(fake), True)}
        for name, part in parts.items():
            terms[name] = weight * self.patchnce_loss([q[part] for q in queries], [k[part] for k in keys])
        yield ("G", "F"), terms

    def source_features(self, x: Tensor) -> list[Tensor]:
        """Return the encoder's features of source images, without gradient."""
        with without_graph():
            return self.G.encode(x)[:-1]

    def patchnce_loss(self, queries: Sequence[Tensor], keys: Sequence[Tensor]) -> Tensor:
        """Return equation 4: the PatchNCE loss of features (N, C, H, W), averaged over layers."""
        losses = []
        for head, query, key in zip(self.F, queries, keys, strict=True):
            locations = torch.rand(query.shape[2] * query.shape[3], device=query.device).argsort()
            locations = locations[: self.config.num_patches]
            with without_graph():
                targets = patch_embeddings(head, key, locations)
            losses.append(patchnce(patch_embeddings(head, query, locations), targets, self.config.temperature))
        return torch.stack(losses).mean()

    def forward(self, x: Tensor) -> Tensor:
        with evaluating(self.G):
            return self.G(x)


def patch_embeddings(head: nn.Module, features: Tensor, locations: Tensor) -> Tensor:
    """Return the embeddings of features (N, C, H, W) at P locations, unit vectors (N, P, K)."""
    embeddings = head(features.flatten(2)[:, :, locations].transpose(1, 2))
    return embeddings / (embeddings.norm(dim=2, keepdim=True) + EPS)


def flip_if(x: Tensor, flipped: Tensor | None) -> Tensor:
    """Return `x`, flipped horizontally if `flipped`, a boolean on the device, is true."""
    return x if flipped is None else torch.where(flipped, x.flip(-1), x)
