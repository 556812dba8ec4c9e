"""The networks of DTN (Taigman et al. 2017, section 5.1, as far as it describes them): f, g and D.

All are fully convolutional: images whose sides are multiples of `size` give a map of embeddings, one for each square.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from diptych.networks.layers import Norm, bias_before, norm_layers


def num_convolutions(size: int) -> int:
    """Return how many convolutions reduce `size` pixels, a power of two from 16, to 1; the last one from 4 to 1."""
    return size.bit_length() - 2


class FNetwork(nn.Module):
    """f: (N, in, size, size) to embeddings (N, embedding_dim, 1, 1), 3x3 convolutions with norm, pooling and ReLU.

    The last layer has no ReLU, and its norm follows the pooling, so that embeddings have about unit variance. There
    are 64, 128 and 256 channels at 32 pixels; each doubling of `size` adds a layer of 256.
    """

    def __init__(
        self, in_channels: int, size: int, width: int = 64, embedding_dim: int = 128, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        widths = [in_channels, *(width * min(2**level, 4) for level in range(num_convolutions(size) - 1))]
        layers: list[nn.Module] = []
        for ins, outs in pairwise(widths):
            layers.append(nn.Conv2d(ins, outs, 3, 1, 1, bias=bias_before(norm)))
            layers += [*norm_layers(norm, outs), nn.MaxPool2d(2), nn.ReLU()]
        layers.append(nn.Conv2d(widths[-1], embedding_dim, 3, 1, 1, bias=bias_before(norm)))
        layers += [nn.MaxPool2d(4), *norm_layers(norm, embedding_dim)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class GNetwork(nn.Module):
    """g: embeddings (N, embedding_dim, 1, 1) to images (N, out, size, size) in [-1, 1], transposed convolutions.

    There are 512, 256 and 128 channels at 32 pixels, with norm and ReLU. `one_by_one_convs` adds a 1x1 convolution
    after each layer, as in the paper's experiments on photos.
    """

    def __init__(
        self,
        out_channels: int,
        size: int,
        width: int = 64,
        embedding_dim: int = 128,
        norm: Norm = "batch",
        one_by_one_convs: bool = False,
    ) -> None:
        super().__init__()
        widths = [embedding_dim, *(8 * width // 2**level for level in range(num_convolutions(size) - 1))]
        layers: list[nn.Module] = []
        for level, (ins, outs) in enumerate(pairwise(widths)):
            stride, padding = (2, 1) if level else (4, 0)
            layers.append(nn.ConvTranspose2d(ins, outs, 4, stride, padding, bias=bias_before(norm)))
            layers += [*norm_layers(norm, outs), nn.ReLU()]
            layers += [nn.Conv2d(outs, outs, 1), nn.ReLU()] if one_by_one_convs else []
        layers.append(nn.ConvTranspose2d(widths[-1], out_channels, 4, 2, 1))
        self.body = nn.Sequential(*layers)

    def forward(self, code: Tensor) -> Tensor:
        return torch.tanh(self.body(code))


class Discriminator(nn.Module):
    """D: (N, in, size, size) to logits (N, classes, 1, 1), strided convolutions with norm and LeakyReLU."""

    def __init__(self, in_channels: int, size: int, width: int = 64, classes: int = 3, norm: Norm = "batch") -> None:
        super().__init__()
        depth = num_convolutions(size)
        widths = [in_channels, *(width * min(2**level, 4) for level in range(depth - 1)), 2 * width]
        layers: list[nn.Module] = []
        for level, (ins, outs) in enumerate(pairwise(widths)):
            stride, padding = (4, 0) if level == depth - 1 else (2, 1)
            layers.append(nn.Conv2d(ins, outs, 4, stride, padding, bias=bias_before(norm)))
            layers += [*norm_layers(norm, outs), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-1], classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)
