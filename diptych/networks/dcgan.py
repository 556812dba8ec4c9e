"""Networks in the manner of DCGAN (Radford et al. 2016), as Dong et al. 2017 use them: 5x5 convolutions of stride 2."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from diptych.networks.layers import Norm, bias_before, norm_layers

SMALL = 4  # pixels a side where images begin and end


def depth_of(size: int) -> int:
    """How often 4 pixels, doubled, make `size`, a power of two."""
    return size.bit_length() - SMALL.bit_length()


class DCGANGenerator(nn.Module):
    """Codes (N, code) and class numbers (N,) to images (N, C, size, size) in -1..1.

    A class is `embedded` in so many numbers, beside the code. At 64 pixels 1024, 512, 256 and 128 channels; at 128 one
    layer more.
    """

    def __init__(
        self, code: int, classes: int, embedded: int, channels: int, size: int, width: int, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        depth = depth_of(size)
        widths = [width * min(8, 2 ** (depth - 1 - level)) for level in range(depth)]
        self.embedding = nn.Embedding(classes, embedded)
        self.start = nn.Linear(code + embedded, widths[0] * SMALL**2, bias=bias_before(norm))
        layers: list[nn.Module] = [*norm_layers(norm, widths[0]), nn.ReLU()]
        for narrow, wide in pairwise(widths):
            layers.append(nn.ConvTranspose2d(narrow, wide, 5, 2, 2, output_padding=1, bias=bias_before(norm)))
            layers += [*norm_layers(norm, wide), nn.ReLU()]
        layers.append(nn.ConvTranspose2d(widths[-1], channels, 5, 2, 2, output_padding=1))
        self.body = nn.Sequential(*layers, nn.Tanh())

    def forward(self, code: Tensor, label: Tensor) -> Tensor:
        x = self.start(torch.cat([code, self.embedding(label).to(code)], 1))
        return self.body(x.unflatten(1, (-1, SMALL, SMALL)))


class DCGANTrunk(nn.Module):
    """Images (N, C, size, size) to features (N, D): 64, 128, 256, 512 channels at 64 pixels; the first has no norm."""

    def __init__(self, channels: int, size: int, width: int, norm: Norm = "batch") -> None:
        super().__init__()
        widths = [channels, *(width * min(8, 2**level) for level in range(depth_of(size)))]
        layers: list[nn.Module] = []
        for level, (narrow, wide) in enumerate(pairwise(widths)):
            own: Norm = norm if level else "none"
            layers.append(nn.Conv2d(narrow, wide, 5, 2, 2, bias=bias_before(own)))
            layers += [*norm_layers(own, wide), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.size = widths[-1] * SMALL**2

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)
