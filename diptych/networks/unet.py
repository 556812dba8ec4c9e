"""The U-Net of pix2pix (Isola et al. 2017, appendix 6.1.1), and the encoder-decoder without skip connections."""

from typing import Literal

import torch
from torch import Tensor, nn

from diptych.networks.layers import Norm, bias_alone, bias_before, next_to, norm_layers
from diptych.networks.upsampling import Upsample, upsample_layers

Dropout = Literal["paper", "repo", "none"]


class UNet(nn.Module):
    """(N, in, H, W) to (N, out, H, W), in [-1, 1] if `bounded`; H and W are multiples of 2 ** depth.

    Each level halves the size with a 4x4 convolution: depth 8 reduces 256 pixels to 1, depth 5 reduces 32. The levels
    have `width` times 1, 2, 4, 8, 8, ... channels. Dropout (0.5) follows the first three up-convolutions ("paper", as
    in the authors' Torch code), or all inner ones at full width except the first ("repo", as in their PyTorch code).

    A latent code (N, code), with `code` > 0 dimensions, is concatenated as constant planes to the input of each level
    of the encoder (BicycleGAN, Zhu et al. 2017, figure 3b).

    `upsample` is how a level of the decoder doubles the size; a transposed convolution is 4x4. In a BatchNorm network,
    as in the public code, convolutions that no norm follows have no bias, except for the last; with `use_bias` they
    have.
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
        upsample: Upsample = "deconv",
        use_bias: bool = False,
    ) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(depth)]
        self.skip = skip
        bias = use_bias or bias_alone(norm)
        outermost = nn.Conv2d(in_channels + code, widths[0], 4, 2, 1, bias=bias)
        self.down = nn.ModuleList([nn.Sequential(outermost)])
        for level in range(1, depth):
            if level == depth - 1:  # 1x1 feature maps: a norm would make them 0
                innermost = nn.Conv2d(widths[level - 1] + code, widths[level], 4, 2, 1, bias=bias)
                self.down.append(nn.Sequential(nn.LeakyReLU(0.2), innermost))
            else:
                self.down.append(_downsample(widths[level - 1] + code, widths[level], norm))
        self.up = nn.ModuleList()
        for level in range(depth - 1, 0, -1):  # from the innermost level to the outermost
            ins = widths[level] * (2 if skip and level < depth - 1 else 1)
            outs = widths[level - 1]
            layers = [nn.ReLU(), *upsample_layers(upsample, ins, outs, 4, bias_before(norm)), *norm_layers(norm, outs)]
            if _has_dropout(dropout, level, depth):
                layers.append(nn.Dropout(0.5))
            self.up.append(nn.Sequential(*layers))
        last = upsample_layers(upsample, widths[0] * (2 if skip else 1), out_channels, 4, bias=True)
        self.up.append(nn.Sequential(nn.ReLU(), *last, *([nn.Tanh()] if bounded else [])))

    def encode(self, x: Tensor, code: Tensor | None = None) -> list[Tensor]:
        """Return the feature maps of all levels of the encoder, the outermost first."""
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


def _downsample(in_channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 4, 2, 1, bias=bias_before(norm))
    return nn.Sequential(nn.LeakyReLU(0.2), conv, *norm_layers(norm, out_channels))


def _has_dropout(dropout: Dropout, level: int, depth: int) -> bool:
    """Return whether dropout follows the up-convolution from `level`; the outermost level is 0."""
    if dropout == "paper":
        return level >= depth - 3
    return dropout == "repo" and 4 <= level < depth - 1
