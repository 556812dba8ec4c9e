"""Discriminators that look at an image and at smaller ones of it: MUNIT, DRIT, and pix2pix in MSGAN.

Wang et al. 2018 (pix2pixHD) had several first: each scale has a network of its own.
"""

from collections.abc import Iterable
from itertools import pairwise

from torch import Tensor, nn


class MultiScale(nn.Module):
    """Images (N, C, H, W) to a list of logits: of the first network at full size, of each next one at half of that."""

    def __init__(self, nets: Iterable[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.halve = nn.AvgPool2d(3, 2, 1, count_include_pad=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        logits = []
        for place, net in enumerate(self.nets):
            x = self.halve(x) if place else x
            logits.append(net(x))
        return logits


def halving(in_channels: int, width: int, depth: int, slope: float, kernel: int = 4) -> nn.Sequential:
    """(N, in, H, W) to logits (N, 1, H / 2^depth, W / 2^depth): convolutions of stride 2 with reflection, no norm."""
    widths = [in_channels, *(width * 2**level for level in range(depth))]
    layers: list[nn.Module] = []
    for narrow, wide in pairwise(widths):
        layers += [nn.Conv2d(narrow, wide, kernel, 2, 1, padding_mode="reflect"), nn.LeakyReLU(slope)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1))
