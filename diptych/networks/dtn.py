"""Networks between images and short codes (Taigman et al. 2017, section 5.1, as far as it is known): f, g and D.

Each works on images of any multiple of `size` on a side: a code is then a map of codes, one for each square.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from diptych.networks.layers import Norm, bias_before, norm_layers


def depth_of(size: int) -> int:
    """How many convolutions bring `size` pixels, a power of two from 16 on, to one: the last goes from 4 to 1."""
    return size.bit_length() - 2


class FNetwork(nn.Module):
    """(N, in, size, size) to codes (N, code, 1, 1): 3x3 convolutions with norm, pooling and ReLU, the last without it.

    Its norm is behind the pooling: numbers of a code vary by about 1, however large f would make them.
    64, 128 and 256 channels at 32 pixels; one more layer of 256 for each doubling.
    """

    def __init__(self, in_channels: int, size: int, width: int = 64, code: int = 128, norm: Norm = "batch") -> None:
        super().__init__()
        depth = depth_of(size)
        widths = [in_channels, *(width * min(2**level, 4) for level in range(depth - 1)), code]
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths[:-1]):
            layers.append(nn.Conv2d(narrow, wide, 3, 1, 1, bias=bias_before(norm)))
            layers += [*norm_layers(norm, wide), nn.MaxPool2d(2), nn.ReLU()]
        layers.append(nn.Conv2d(widths[-2], code, 3, 1, 1, bias=bias_before(norm)))
        layers += [nn.MaxPool2d(4), *norm_layers(norm, code)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class GNetwork(nn.Module):
    """Codes (N, code, 1, 1) to images (N, out, size, size) in -1..1: transposed convolutions with norm and ReLU.

    512, 256 and 128 channels at 32 pixels. `smooth` puts a 1x1 convolution behind each, as for the paper's pictures.
    """

    def __init__(
        self, out: int, size: int, width: int = 64, code: int = 128, norm: Norm = "batch", smooth: bool = False
    ) -> None:
        super().__init__()
        depth = depth_of(size)
        widths = [code, *(8 * width // 2**level for level in range(depth - 1))]
        layers: list[nn.Module] = []
        for level, (narrow, wide) in enumerate(pairwise(widths)):
            kind = (4, 4, 0) if level == 0 else (4, 2, 1)
            layers.append(nn.ConvTranspose2d(narrow, wide, *kind, bias=bias_before(norm)))
            layers += [*norm_layers(norm, wide), nn.ReLU()]
            layers += [nn.Conv2d(wide, wide, 1), nn.ReLU()] if smooth else []
        layers.append(nn.ConvTranspose2d(widths[-1], out, 4, 2, 1))
        self.body = nn.Sequential(*layers)

    def forward(self, code: Tensor) -> Tensor:
        return torch.tanh(self.body(code))


class Discriminator(nn.Module):
    """(N, in, size, size) to logits (N, kinds, 1, 1): convolutions that halve, with norm and leaky ReLU."""

    def __init__(self, in_channels: int, size: int, width: int = 64, kinds: int = 3, norm: Norm = "batch") -> None:
        super().__init__()
        depth = depth_of(size)
        widths = [in_channels, *(width * min(2**level, 4) for level in range(depth - 1)), 2 * width]
        layers: list[nn.Module] = []
        for level, (narrow, wide) in enumerate(pairwise(widths)):
            kind = (4, 4, 0) if level == depth - 1 else (4, 2, 1)
            layers.append(nn.Conv2d(narrow, wide, *kind, bias=bias_before(norm)))
            layers += [*norm_layers(norm, wide), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-1], kinds, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)
