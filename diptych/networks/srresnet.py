"""The networks of SRGAN (Ledig et al. 2017, figure 4): the generator SRResNet, and the discriminator."""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.networks.layers import Norm, bias_before, norm_layers

PreUpsample = Literal["norm", "prelu"]
OutputActivation = Literal["linear", "tanh"]
DiscriminatorHead = Literal["dense", "pooled"]


class SRResNet(nn.Module):
    """(N, C, H, W) to (N, C, scale H, scale W), fully convolutional; `scale` is a power of two.

    `pre_upsample` is the layer after the convolution that follows the residual blocks: a norm, or a PReLU as in some
    published weights. With `output_activation` "linear" the output is not bounded.
    """

    def __init__(
        self,
        channels: int,
        scale: int,
        width: int = 64,
        blocks: int = 16,
        norm: Norm = "batch",
        pre_upsample: PreUpsample = "norm",
        output_activation: OutputActivation = "linear",
    ) -> None:
        super().__init__()
        self.output_activation = output_activation
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 9, 1, 4), nn.PReLU())
        self.blocks = nn.Sequential(*(ResidualBlock(width, norm) for _ in range(blocks)))
        if pre_upsample == "norm":
            self.joint = nn.Sequential(*_conv(width, norm))
        else:
            self.joint = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.PReLU())
        self.up = nn.Sequential(*(UpsampleBlock(width) for _ in range(scale.bit_length() - 1)))
        self.head = nn.Conv2d(width, channels, 9, 1, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.head(self.up(x + self.joint(self.blocks(x))))
        return torch.tanh(x) if self.output_activation == "tanh" else x


class ResidualBlock(nn.Module):
    """x + norm(conv(prelu(norm(conv(x)))))."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        first, second = _conv(width, norm), _conv(width, norm)
        self.body = nn.Sequential(*first, nn.PReLU(), *second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _conv(width: int, norm: Norm) -> list[nn.Module]:
    return [nn.Conv2d(width, width, 3, 1, 1, bias=bias_before(norm)), *norm_layers(norm, width)]


class UpsampleBlock(nn.Sequential):
    """(N, width, H, W) to (N, width, 2H, 2W): convolution to four times the channels, pixel shuffle, PReLU."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2), nn.PReLU())


class Discriminator(nn.Module):
    """(N, C, size, size) to logits (N, 1); `size` is a multiple of 16.

    With `head` "dense", as in the paper, it accepts images of this size only; with "pooled" (global average pooling,
    as in some public code), of any size.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        width: int = 64,
        norm: Norm = "batch",
        head: DiscriminatorHead = "dense",
        hidden_dim: int = 1024,
    ) -> None:
        super().__init__()
        widths = [width, width, 2 * width, 2 * width, 4 * width, 4 * width, 8 * width, 8 * width]
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1), nn.LeakyReLU(0.2)]
        for level, (ins, outs) in enumerate(pairwise(widths)):
            stride = 2 - level % 2
            layers.append(nn.Conv2d(ins, outs, 3, stride, 1, bias=bias_before(norm)))
            layers += [*norm_layers(norm, outs), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers)
        pool = [nn.AdaptiveAvgPool2d(1)] if head == "pooled" else []
        features = widths[-1] * (1 if head == "pooled" else (size // 16) ** 2)
        self.head = nn.Sequential(
            *pool, nn.Flatten(), nn.Linear(features, hidden_dim), nn.LeakyReLU(0.2), nn.Linear(hidden_dim, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def downsample_bicubic(x: Tensor, scale: int) -> Tensor:
    """Return images (N, C, H, W) in [-1, 1] at 1 / scale of their size: bicubic, antialiased, rounded to 8 bits.

    H and W are multiples of `scale`. Few pixels differ from Pillow's bicubic resizing, by one level.
    """
    size = [length // scale for length in x.shape[-2:]]
    small = F.interpolate(x, size, mode="bicubic", antialias=True, align_corners=False)
    return (small.clamp(-1, 1) * 127.5 + 127.5).round() / 127.5 - 1
