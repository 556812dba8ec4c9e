"""The U-Net of pix2pix (Isola et al. 2017, appendix 6.1.1), and its encoder-decoder ablation without skips."""

from typing import Literal

import torch
from torch import Tensor, nn

from diptych.networks.layers import Norm, bias_alone, bias_before, next_to, norm_layers

Dropout = Literal["paper", "repo", "none"]
Upsample = Literal["basic", "bilinear"]  # BicycleGAN's names


class UNet(nn.Module):
    """(N, in, H, W) to (N, out, H, W), in [-1, 1] where `bounded`; H and W are multiples of 2 ** depth.

    Every level halves the picture with a 4x4 convolution: depth 8 takes 256 pixels to 1, depth 5 takes 32.
    Widths are `width` times 1, 2, 4, 8, 8, ... Dropout (.5) stands behind the first three up-convolutions (`paper`, as
    the authors' Torch code), or behind all inner ones at full width but the first (`repo`, as their PyTorch code).
    With `code` > 0, so many numbers (N, code) go beside the picture into each level on the way down, as planes
    (BicycleGAN, Zhu et al. 2017, figure 3b).

    `upsample` is how a level doubles the size: `basic`, a transposed 4x4 convolution, or `bilinear`, interpolation and
    a 3x3 convolution with reflection padding. A BatchNorm network has no bias where no norm follows a convolution
    either, save for the last, as in the public code; with `use_bias` it has.
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
        upsample: Upsample = "basic",
        use_bias: bool = False,
    ) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(depth)]
        self.skip = skip
        alone = use_bias or bias_alone(norm)
        first = nn.Conv2d(in_channels + code, widths[0], 4, 2, 1, bias=alone)
        self.down = nn.ModuleList([nn.Sequential(first)])
        for level in range(1, depth):
            if level == depth - 1:  # at 1x1 a norm would leave nothing: there is none
                innermost = nn.Conv2d(widths[level - 1] + code, widths[level], 4, 2, 1, bias=alone)
                self.down.append(nn.Sequential(nn.LeakyReLU(0.2), innermost))
            else:
                self.down.append(_down(widths[level - 1] + code, widths[level], norm))
        self.up = nn.ModuleList()
        for level in range(depth - 1, 0, -1):  # from the innermost out
            wide = widths[level] * (2 if skip and level < depth - 1 else 1)
            drop = [nn.Dropout(0.5)] if _drops(dropout, level, depth) else []
            doubled = _doubled(wide, widths[level - 1], upsample, bias_before(norm))
            self.up.append(nn.Sequential(nn.ReLU(), *doubled, *norm_layers(norm, widths[level - 1]), *drop))
        last = _doubled(widths[0] * (2 if skip else 1), out_channels, upsample, bias=True)
        self.up.append(nn.Sequential(nn.ReLU(), *last, *([nn.Tanh()] if bounded else [])))

    def encode(self, x: Tensor, code: Tensor | None = None) -> list[Tensor]:
        """What each level holds on the way down, from the outermost in."""
        levels = []
        for down in self.down:
            x = down(x if code is None else next_to(x, code))
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


def _down(narrow: int, wide: int, norm: Norm) -> nn.Sequential:
    conv = nn.Conv2d(narrow, wide, 4, 2, 1, bias=bias_before(norm))
    return nn.Sequential(nn.LeakyReLU(0.2), conv, *norm_layers(norm, wide))


def _doubled(wide: int, narrow: int, upsample: Upsample, bias: bool) -> list[nn.Module]:
    """Layers from (N, wide, H, W) to (N, narrow, 2 H, 2 W)."""
    if upsample == "basic":
        return [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=bias)]
    between = nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)
    return [between, nn.ReflectionPad2d(1), nn.Conv2d(wide, narrow, 3, bias=bias)]


def _drops(dropout: Dropout, level: int, depth: int) -> bool:
    """Whether the up-convolution from `level` is followed by dropout; levels count from the outermost, 0."""
    if dropout == "paper":
        return level >= depth - 3
    return dropout == "repo" and 4 <= level < depth - 1
