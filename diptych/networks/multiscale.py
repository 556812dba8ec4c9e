"""Discriminators at several image scales, as in pix2pixHD (Wang et al. 2018), MUNIT, DRIT and MSGAN.

Each scale has its own network.
"""

from collections.abc import Iterable
from itertools import pairwise

from torch import Tensor, nn


class MultiScaleDiscriminator(nn.Module):
    """Images (N, C, H, W) to a list of logits: the first network at full size, each further one at half the size."""

    def __init__(self, nets: Iterable[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.downsample = nn.AvgPool2d(3, 2, 1, count_include_pad=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        logits = []
        for scale, net in enumerate(self.nets):
            if scale:
                x = self.downsample(x)
            logits.append(net(x))
        return logits


def patch_discriminator(in_channels: int, width: int, depth: int, slope: float, kernel: int = 4) -> nn.Sequential:
    """Return a network from images (N, in, H, W) to logits (N, 1, H / 2^depth, W / 2^depth).

    It has `depth` convolutions of stride 2 with reflection padding and LeakyReLU, without norm.
    """
    widths = [in_channels, *(width * 2**level for level in range(depth))]
    layers: list[nn.Module] = []
    for ins, outs in pairwise(widths):
        layers += [nn.Conv2d(ins, outs, kernel, 2, 1, padding_mode="reflect"), nn.LeakyReLU(slope)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1))
