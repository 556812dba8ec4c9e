"""DCGAN networks (Radford et al. 2016) with 5x5 convolutions of stride 2, as in Dong et al. 2017."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from diptych.networks.layers import Norm, bias_before, norm_layers

MIN_FEATURE_SIZE = 4  # height and width in pixels of the smallest feature maps


def num_layers(size: int) -> int:
    """Return how many layers of stride 2 lie between 4 pixels and `size`, a power of two."""
    return size.bit_length() - MIN_FEATURE_SIZE.bit_length()


class DCGANGenerator(nn.Module):
    """Latent codes (N, latent_dim) and class indices (N,) to images (N, C, size, size) in [-1, 1].

    An embedding of the class with `embedding_dim` dimensions is concatenated to the code. At 64 pixels and width 128
    the layers have 1024, 512, 256 and 128 channels; 128 pixels take one layer more.
    """

    def __init__(
        self,
        latent_dim: int,
        classes: int,
        embedding_dim: int,
        channels: int,
        size: int,
        width: int,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        depth = num_layers(size)
        widths = [width * min(8, 2 ** (depth - 1 - level)) for level in range(depth)]
        self.embedding = nn.Embedding(classes, embedding_dim)
        self.start = nn.Linear(latent_dim + embedding_dim, widths[0] * MIN_FEATURE_SIZE**2, bias=bias_before(norm))
        layers: list[nn.Module] = [*norm_layers(norm, widths[0]), nn.ReLU()]
        for ins, outs in pairwise(widths):
            layers.append(nn.ConvTranspose2d(ins, outs, 5, 2, 2, output_padding=1, bias=bias_before(norm)))
            layers += [*norm_layers(norm, outs), nn.ReLU()]
        layers.append(nn.ConvTranspose2d(widths[-1], channels, 5, 2, 2, output_padding=1))
        self.body = nn.Sequential(*layers, nn.Tanh())

    def forward(self, code: Tensor, label: Tensor) -> Tensor:
        x = self.start(torch.cat([code, self.embedding(label).to(code)], 1))
        return self.body(x.unflatten(1, (-1, MIN_FEATURE_SIZE, MIN_FEATURE_SIZE)))


class DCGANTrunk(nn.Module):
    """Images (N, C, size, size) to features (N, D), with `width` times 1, 2, 4, 8, 8, ... channels.

    The first convolution has no norm. `size` is the attribute with D.
    """

    def __init__(self, channels: int, size: int, width: int, norm: Norm = "batch") -> None:
        super().__init__()
        widths = [channels, *(width * min(8, 2**level) for level in range(num_layers(size)))]
        layers: list[nn.Module] = []
        for level, (ins, outs) in enumerate(pairwise(widths)):
            layer_norm: Norm = norm if level else "none"
            layers.append(nn.Conv2d(ins, outs, 5, 2, 2, bias=bias_before(layer_norm)))
            layers += [*norm_layers(layer_norm, outs), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.size = widths[-1] * MIN_FEATURE_SIZE**2

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)
