"""The U-Net of pix2pix (Isola et al. 2017, appendix 6.1.1), and its encoder-decoder ablation without skips."""

from typing import Literal

import torch
from torch import Tensor, nn

from diptych.nn.blocks import Norm, beside, bias_alone, bias_before, norm_layers

Dropout = Literal["paper", "repo", "none"]


class UNet(nn.Module):
    """(N, in, H, W) to (N, out, H, W), in [-1, 1] where `bounded`; H and W are multiples of 2 ** depth.

    Every level halves the picture with a 4x4 convolution: depth 8 takes 256 pixels to 1, depth 5 takes 32.
    Widths are `width` times 1, 2, 4, 8, 8, ... Dropout (.5) stands behind the first three up-convolutions (`paper`, as
    the authors' Torch code), or behind all inner ones at full width but the first (`repo`, as their PyTorch code).
    With `code` > 0, so many numbers (N, code) go beside the picture into each level on the way down, as planes
    (BicycleGAN, Zhu et al. 2017, figure 3b).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int = 64,
        depth: int = 8,
        norm: Norm = "batch",
        dropout: Dropout = "paper",
        skip: bool = True,
        bounded: bool = True,
        code: int = 0,
    ) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(depth)]
        self.skip = skip
        first = nn.Conv2d(in_channels + code, widths[0], 4, 2, 1, bias=bias_alone(norm))
        self.down = nn.ModuleList([nn.Sequential(first)])
        for level in range(1, depth):
            self.down.append(_down(widths[level - 1] + code, widths[level], norm, innermost=level == depth - 1))
        self.up = nn.ModuleList()
        for level in range(depth - 1, 0, -1):  # from the innermost out
            wide = widths[level] * (2 if skip and level < depth - 1 else 1)
            self.up.append(_up(wide, widths[level - 1], norm, _drops(dropout, level, depth)))
        last = nn.ConvTranspose2d(widths[0] * (2 if skip else 1), out_channels, 4, 2, 1)
        self.up.append(nn.Sequential(nn.ReLU(), last, *([nn.Tanh()] if bounded else [])))

    def encode(self, x: Tensor, code: Tensor | None = None) -> list[Tensor]:
        """What each level holds on the way down, from the outermost in."""
        levels = []
        for down in self.down:
            x = down(x if code is None else beside(x, code))
            levels.append(x)
        return levels

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        levels = self.encode(x, code)
        x = levels.pop()
        for up in self.up:
            x = up(x)
            if self.skip and levels:
                x = torch.cat([levels.pop(), x], 1)
        return x


def _down(narrow: int, wide: int, norm: Norm, innermost: bool) -> nn.Sequential:
    if innermost:  # at 1x1 a norm would leave nothing: there is none
        return nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(narrow, wide, 4, 2, 1, bias=bias_alone(norm)))
    conv = nn.Conv2d(narrow, wide, 4, 2, 1, bias=bias_before(norm))
    return nn.Sequential(nn.LeakyReLU(0.2), conv, *norm_layers(norm, wide))


def _up(wide: int, narrow: int, norm: Norm, drop: bool) -> nn.Sequential:
    conv = nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=bias_before(norm))
    return nn.Sequential(nn.ReLU(), conv, *norm_layers(norm, narrow), *([nn.Dropout(0.5)] if drop else []))


def _drops(dropout: Dropout, level: int, depth: int) -> bool:
    """Whether the up-convolution from `level` is followed by dropout; levels count from the outermost, 0."""
    if dropout == "paper":
        return level >= depth - 3
    return dropout == "repo" and 4 <= level < depth - 1
