"""The networks of SRGAN (Ledig et al. 2017, figure 4): SRResNet, and the discriminator of its patches."""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.networks.layers import Norm, bias_before, norm_layers

Joint = Literal["norm", "prelu"]
End = Literal["linear", "tanh"]
Head = Literal["dense", "pooled"]


class SRResNet(nn.Module):
    """(N, C, H, W) to (N, C, scale H, scale W), fully convolutional; `scale` is a power of two.

    `joint` is what follows the convolution behind the residual blocks: a norm, or a PReLU as in some published files.
    With `end` linear the output is not bounded.
    """

    def __init__(
        self,
        channels: int,
        scale: int,
        width: int = 64,
        blocks: int = 16,
        norm: Norm = "batch",
        joint: Joint = "norm",
        end: End = "linear",
    ) -> None:
        super().__init__()
        self.end = end
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 9, 1, 4), nn.PReLU())
        self.blocks = nn.Sequential(*(Residual(width, norm) for _ in range(blocks)))
        bias, after = (bias_before(norm), norm_layers(norm, width)) if joint == "norm" else (True, [nn.PReLU()])
        self.joint = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=bias), *after)
        self.up = nn.Sequential(*(Doubled(width) for _ in range(scale.bit_length() - 1)))
        self.head = nn.Conv2d(width, channels, 9, 1, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.head(self.up(x + self.joint(self.blocks(x))))
        return torch.tanh(x) if self.end == "tanh" else x


class Residual(nn.Module):
    """x + norm(conv(prelu(norm(conv(x)))))."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        first, second = (
            [nn.Conv2d(width, width, 3, 1, 1, bias=bias_before(norm)), *norm_layers(norm, width)] for _ in range(2)
        )
        self.body = nn.Sequential(*first, nn.PReLU(), *second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Doubled(nn.Sequential):
    """(N, width, H, W) to (N, width, 2H, 2W): four channels of each become four pixels (Shi et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2), nn.PReLU())


class Discriminator(nn.Module):
    """(N, C, size, size) to logits (N, 1); `size` is a multiple of 16.

    Its head is dense and made for that size, as in the paper, or pools, as in some public code, and takes any.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        width: int = 64,
        norm: Norm = "batch",
        head: Head = "dense",
        hidden: int = 1024,
    ) -> None:
        super().__init__()
        widths = [width, width, 2 * width, 2 * width, 4 * width, 4 * width, 8 * width, 8 * width]
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1), nn.LeakyReLU(0.2)]
        for level, (narrow, wide) in enumerate(pairwise(widths)):
            stride = 2 - level % 2
            layers.append(nn.Conv2d(narrow, wide, 3, stride, 1, bias=bias_before(norm)))
            layers += [*norm_layers(norm, wide), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers)
        place = [nn.AdaptiveAvgPool2d(1)] if head == "pooled" else []
        flat = widths[-1] * (1 if head == "pooled" else (size // 16) ** 2)
        self.head = nn.Sequential(
            *place, nn.Flatten(), nn.Linear(flat, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def shrunk(x: Tensor, scale: int) -> Tensor:
    """(N, C, H, W) in [-1, 1] to (N, C, H / scale, W / scale): bicubic, antialiased, in 8 bits as a file would be.

    H and W are multiples of `scale`. What Pillow makes of the same picture differs by one level in few pixels.
    """
    size = [side // scale for side in x.shape[-2:]]
    small = F.interpolate(x, size, mode="bicubic", antialias=True, align_corners=False)
    return (small.clamp(-1, 1) * 127.5 + 127.5).round() / 127.5 - 1
