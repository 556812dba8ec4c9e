"""CUT: "Contrastive Learning for Unpaired Image-to-Image Translation", Park et al. 2020, arXiv 2007.15651.

One generator, one way, no pairs: each patch of a translation shall be of the patch at its place, by what the
generator's own encoder sees. FastCUT is the same with heavier weights and less to compute.

    diptych train cut --data horse2zebra -o runs/zebras
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from diptych.contract import Batch, Clock, DataKind, Method, MethodConfig, Player, Route, Stage, Update
from diptych.losses.adversarial import lsgan
from diptych.losses.patchnce import TEMPERATURE, patchnce
from diptych.networks.layers import evaluating, initialise, without_graph
from diptych.networks.patchgan import PatchGAN
from diptych.networks.patchgan import ReceptiveField as ReceptiveField
from diptych.networks.resnet import ResNet, num_tapped

EPS = 1e-7  # of lengths


class CUT(Method):
    class Config(MethodConfig):
        """Section 3, and section 4.1's two settings."""

        steps: int = Field(480_000, ge=1, description="optimiser steps: 400 epochs of about 1,200 images at batch 1")
        channels: int = Field(3, ge=1, le=1024, description="channels of both domains; read from the data")
        lambda_gan: float = Field(1.0, gt=0, description="weight of the adversarial term")
        lambda_nce: float = Field(1.0, gt=0, description="weight of PatchNCE (CUT 1, FastCUT 10)")
        nce_idt: bool = Field(True, description="PatchNCE of images of the target too; both then count half")
        flip_equivariance: bool = Field(
            False, description="mirror half of the steps' sources, and their patches back (FastCUT)"
        )
        temperature: float = Field(TEMPERATURE, gt=0, description="of PatchNCE")
        num_patches: int = Field(256, ge=2, le=65_536, description="patches of each layer, the same in all images")
        nce_dim: int = Field(256, ge=1, le=4096, description="numbers that a patch is told by")
        n_blocks: int = Field(9, ge=1, le=100, description="residual blocks of the generator")
        norm: Literal["instance", "none"] = Field("instance", description="norm of the generator")
        ngf: int = Field(64, ge=1, le=1024, description="channels of its first layer")
        receptive_field: ReceptiveField = Field(70, description="size of the discriminator, as in pix2pix")
        ndf: int = Field(64, ge=1, le=1024, description="channels of its first layer")
        reuse: Literal["none", "exact"] = Field(
            "exact", description="what sources show is taken from their translation, which is exact without mirror"
        )
        lr: float = Field(2e-4, gt=0, description="Adam's step size, all players")
        lr_decay_start: float = Field(
            0.5, ge=0, le=1, description="fraction after which the step size falls to 0 in a line"
        )
        ema_decay: float = Field(0.0, ge=0, lt=1, description="translate with weights averaged by this factor; 0: off")

        def unused(self) -> dict[str, str]:
            return {"reuse": "flip_equivariance=false"} if self.flip_equivariance else {}

    config: Config
    data = DataKind.UNPAIRED
    batch = {"a": "channels", "b": "channels"}
    routes = (Route("a", "b"),)
    inference_networks = ("G",)
    size_multiple = 4
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
    tiny = {
        "ngf": 8,
        "n_blocks": 5,
        "ndf": 8,
        "receptive_field": 16,
        "num_patches": 64,
        "nce_dim": 32,
        "lr": 2e-3,
        "ema_decay": 0.9,
    }
    learns = {"steps": 500}  # after 250 the error depends on how a CPU rounds
    apart = {"num_patches": 65_536}  # all of them

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.G = ResNet(c.channels, c.channels, c.ngf, c.n_blocks, c.norm, blur=True)
        self.D = PatchGAN(c.channels, c.receptive_field, c.ndf, "instance", blur=True)
        self.F = nn.ModuleList(
            nn.Sequential(nn.Linear(seen, c.nce_dim), nn.ReLU(), nn.Linear(c.nce_dim, c.nce_dim))
            for seen in (c.channels, 2 * c.ngf, *[4 * c.ngf] * (1 + num_tapped(c.n_blocks)))
        )
        initialise(self, "xavier")
        self.ema, self.ema_decay = (("G",) if c.ema_decay else ()), c.ema_decay

    def stages(self) -> list[Stage]:
        def schedule(clock: Clock) -> float:
            return clock.decay(start=self.config.lr_decay_start)

        nets: dict[str, nn.Module] = {"D": self.D, "G": self.G, "F": self.F}
        players = {name: Player((net,), self.config.lr, schedule=schedule) for name, net in nets.items()}
        return [Stage("train", self.config.steps, self.updates, players)]

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """A step on D, then one on G and the heads F together, on the same images."""
        c, x, y = self.config, batch["a"], batch["b"]
        mirrored = torch.rand((), device=x.device) < 0.5 if c.flip_equivariance else None
        given = torch.cat([x, y]) if c.nce_idt else x
        seen = self.G.encode(mirror(given, mirrored))
        made = self.G.decode(seen[-1])
        fake = made[: len(x)]
        real, caught = self.D(torch.cat([y, fake.detach()])).split([len(y), len(x)])
        yield "D", {"real": lsgan(real, True) / 2, "fake": lsgan(caught, False) / 2}
        keys = seen[:-1] if c.reuse == "exact" and mirrored is None else self.shown(given)
        answers = [mirror(layer, mirrored) for layer in self.G.encode(made)[:-1]]
        weight = c.lambda_nce / 2 if c.nce_idt else c.lambda_nce
        terms = {"gan": c.lambda_gan * lsgan(self.D(fake), True)}
        for name, part in (("nce", slice(len(x))), ("nce_y", slice(len(x), None)))[: 1 + c.nce_idt]:
            terms[name] = weight * self.same_places([q[part] for q in answers], [k[part] for k in keys])
        yield ("G", "F"), terms

    def shown(self, x: Tensor) -> list[Tensor]:
        """What the encoder sees in sources; PatchNCE sends no gradient that way."""
        with without_graph():
            return self.G.encode(x)[:-1]

    def same_places(self, answers: Sequence[Tensor], sources: Sequence[Tensor]) -> Tensor:
        """Equation 4: PatchNCE of each layer (N, C, H, W), a mean over layers."""
        found = []
        for head, ours, theirs in zip(self.F, answers, sources, strict=True):
            places = torch.rand(ours.shape[2] * ours.shape[3], device=ours.device).argsort()[: self.config.num_patches]
            with without_graph():
                keys = told(head, theirs, places)
            found.append(patchnce(told(head, ours, places), keys, self.config.temperature))
        return torch.stack(found).mean()

    @torch.no_grad()
    def translate(self, x: Tensor) -> Tensor:
        with evaluating(self.G):
            return self.G(x)


def told(head: nn.Module, layer: Tensor, places: Tensor) -> Tensor:
    """Features (N, C, H, W) at P places as unit vectors (N, P, K)."""
    code = head(layer.flatten(2)[:, :, places].transpose(1, 2))
    return code / (code.norm(dim=2, keepdim=True) + EPS)


def mirror(x: Tensor, mirrored: Tensor | None) -> Tensor:
    """Left for right where `mirrored`, a truth value on the device, says so."""
    return x if mirrored is None else torch.where(mirrored, x.flip(-1), x)
