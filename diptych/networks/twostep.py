"""The discriminator and the encoder of Dong et al. 2017, of one architecture."""

from torch import Tensor, nn

from diptych.networks.dcgan import DCGANTrunk
from diptych.networks.latents import Prior
from diptych.networks.layers import Norm


class Discriminator(nn.Module):
    """Images to real-or-fake logits (N, 1) and class logits (N, K)."""

    def __init__(self, channels: int, classes: int, size: int, width: int, norm: Norm) -> None:
        super().__init__()
        self.trunk = DCGANTrunk(channels, size, width, norm)
        self.real, self.named = nn.Linear(self.trunk.size, 1), nn.Linear(self.trunk.size, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.real(h), self.named(h)


class Encoder(nn.Module):
    """Images to latent codes (N, latent_dim): a trunk like D's, with its own weights."""

    def __init__(self, channels: int, latent: int, size: int, width: int, norm: Norm, prior: Prior) -> None:
        super().__init__()
        self.trunk = DCGANTrunk(channels, size, width, norm)
        self.head = nn.Linear(self.trunk.size, latent)
        self.end = nn.Tanh() if prior == "uniform" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.head(self.trunk(x)))
