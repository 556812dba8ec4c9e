"""GAN: "Generative Adversarial Nets", Goodfellow et al. 2014, arXiv 1406.2661.

Two multilayer perceptrons: G generates images from noise, D separates them from real ones. It does not translate.

    diptych train gan --data glyphs:sans crop_size=32 batch_size=100 -o runs/letters
    diptych generate runs/letters -o letters/ -n 64
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from diptych.contract import (
    Batch,
    CheckConfigs,
    Clock,
    DataKind,
    LatentCode,
    Method,
    MethodConfig,
    Player,
    Setting,
    Stage,
    Traits,
    Update,
)
from diptych.losses.adversarial import bce
from diptych.networks.latents import Prior, latent_codes, sample_latents
from diptych.networks.maxout import Maxout


class GAN(Method):
    class Config(MethodConfig):
        """The networks for MNIST, as far as they are published. Adam is ours; the paper uses SGD with momentum."""

        steps: int = Field(50_000, ge=1, description="training steps; each updates D once and G once")
        channels: Annotated[int, Setting(channels_of=("image",))] = Field(
            1, ge=1, le=1024, description="number of channels of the images; read from the data"
        )
        image_size: Annotated[int, Setting(follows="crop_size")] = Field(
            28, ge=8, le=1024, description="side of the training images in pixels; follows crop_size"
        )
        gan_loss: Literal["saturating", "nonsaturating"] = Field(
            "nonsaturating",
            description="generator's loss: saturating (minimise log(1 - D(G(z)))) or "
            "nonsaturating (maximise log D(G(z)))",
        )
        latent_dim: int = Field(100, ge=1, le=65_536, description="dimension of the latent code")
        prior: Prior = Field("uniform", description="distribution of the latent code: uniform, or standard normal")
        prior_limit: float = Field(
            1.0, gt=0, le=100, description="limit of prior=uniform, which is in [-prior_limit, prior_limit]"
        )
        g_hidden: int = Field(1200, ge=1, le=65_536, description="units of both hidden layers of G")
        d_hidden: int = Field(240, ge=1, le=65_536, description="maxout units of both hidden layers of D")
        maxout_pieces: int = Field(5, ge=1, le=1024, description="linear pieces of a maxout unit")
        dropout: bool = Field(True, description="dropout in D: 0.2 of the input, half of the hidden units")
        g_init_limit: float = Field(
            0.0,
            ge=0,
            le=10,
            description="limit of the uniform initial weights of G, with biases 0; 0: PyTorch's default",
        )
        d_init_limit: float = Field(0.0, ge=0, le=10, description="the same limit for D; 0: PyTorch's default")
        lr: float = Field(2e-4, gt=0, description="learning rate of Adam, both players (ours)")

        def unused(self) -> dict[str, str]:
            return {} if self.prior == "uniform" else {"prior_limit": "prior=uniform"}

    config: Config
    data = DataKind.IMAGES
    batch = ("image",)
    routes = ()
    inference_networks = ("G",)
    presets = {
        "paper": {},
        "repo": {"prior_limit": 3**0.5, "g_init_limit": 0.05, "d_init_limit": 0.005},  # the authors' code for MNIST
    }
    traits = Traits(unconditional=True)
    checks = CheckConfigs(
        tiny={"latent_dim": 8, "g_hidden": 64, "d_hidden": 16, "maxout_pieces": 2, "lr": 1e-3},
        independent={"dropout": False},
    )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        pixels = c.channels * c.image_size**2
        self.G = nn.Sequential(
            nn.Linear(c.latent_dim, c.g_hidden),
            nn.ReLU(),
            nn.Linear(c.g_hidden, c.g_hidden),
            nn.ReLU(),
            nn.Linear(c.g_hidden, pixels),
        )
        input_dropout = nn.Dropout(0.2 if c.dropout else 0.0)
        hidden_dropout = nn.Dropout(0.5 if c.dropout else 0.0)
        self.D = nn.Sequential(
            nn.Flatten(), input_dropout,
            Maxout(pixels, c.d_hidden, c.maxout_pieces), hidden_dropout,
            Maxout(c.d_hidden, c.d_hidden, c.maxout_pieces), hidden_dropout,
            nn.Linear(c.d_hidden, 1),
        )  # fmt: skip
        self.latent = LatentCode(c.latent_dim, c.prior)
        self.code_scale = c.prior_limit if c.prior == "uniform" else 1.0
        initialise_uniformly(self.G, c.g_init_limit)
        initialise_uniformly(self.D, c.d_init_limit)

    def stages(self) -> list[Stage]:
        players = {"D": Player((self.D,), self.config.lr), "G": Player((self.G,), self.config.lr)}
        return [Stage("train", self.config.steps, self.updates, players)]

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Algorithm 1 with k = 1: a step on D, then a step on G, with the same latent codes."""
        x = batch["image"]
        fake = self.forward(sample_latents(self.config.prior, len(x), self.config.latent_dim, x))
        yield "D", {"real": bce(self.D(x), True), "fake": bce(self.D(fake.detach()), False)}
        logits = self.D(fake)
        yield "G", {"gan": bce(logits, True) if self.config.gan_loss == "nonsaturating" else -bce(logits, False)}

    def forward(self, latent: Tensor) -> Tensor:
        """Return images (N, C, size, size) in [-1, 1] of latent codes (N, latent_dim), by a scaled sigmoid.

        Uniform codes are in [-1, 1] and scaled to the limit of the prior.
        """
        return (2 * torch.sigmoid(self.G(self.code_scale * latent)) - 1).view(
            -1, self.config.channels, self.config.image_size, self.config.image_size
        )

    @torch.no_grad()
    def sample(self, numbers: range, seed: int = 0) -> Tensor:
        return self.forward(
            latent_codes(self.config.prior, numbers, self.config.latent_dim, seed).to(next(self.G.parameters()))
        )


def initialise_uniformly(net: nn.Module, limit: float) -> None:
    """Fill the weights of linear layers uniformly in [-limit, limit], and biases with 0; not if `limit` is 0."""
    for module in net.modules() if limit else ():
        if isinstance(module, nn.Linear):
            nn.init.uniform_(module.weight, -limit, limit)
            nn.init.zeros_(module.bias)
