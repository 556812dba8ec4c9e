"""The networks of StarGAN (Choi et al. 2018, appendix 7.2)."""

import torch
from torch import Tensor, nn

from diptych.errors import ConfigError


class Generator(nn.Module):
    """Images (N, C, H, W) and conditions (N, L) to images in [-1, 1]; H and W are multiples of 4. Fully convolutional.

    The zero padding matters: a constant condition map only shifts the output of a convolution, which InstanceNorm
    removes; next to padding it does more.
    """

    def __init__(self, channels: int, labels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels + labels, width, 7, 1, 3, bias=False), *normed(width))
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False), *normed(2 * w)) for w in (width, 2 * width)
        )
        self.blocks = nn.ModuleList(Block(4 * width) for _ in range(blocks))
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(2 * w, w, 4, 2, 1, bias=False), *normed(w)) for w in (2 * width, width)
        )
        self.head = nn.Sequential(nn.Conv2d(width, channels, 7, 1, 3, bias=False), nn.Tanh())

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        x = self.stem(torch.cat([x, code[..., None, None].expand(-1, -1, *x.shape[2:])], 1))
        for layer in (*self.down, *self.blocks, *self.up):
            x = layer(x)
        return self.head(x)


def normed(channels: int) -> tuple[nn.Module, nn.Module]:
    """InstanceNorm and ReLU. The public code keeps running statistics too, and never uses them."""
    return nn.InstanceNorm2d(channels, affine=True), nn.ReLU()


class Block(nn.Module):
    """x + conv(conv(x)), without an activation after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            *normed(channels),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            normed(channels)[0],
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Discriminator(nn.Module):
    """Images (N, C, size, size) to patch scores (N, 1, h, w) and class logits (N, L). No norm, for the gradient penalty.

    The kernel of the second head covers the whole feature map: size / 2^depth.
    """

    def __init__(self, channels: int, labels: int, size: int, width: int, depth: int) -> None:
        super().__init__()
        self.size = size
        layers: list[nn.Module] = []
        for level in range(depth):
            layers += [nn.Conv2d(channels, width << level, 4, 2, 1), nn.LeakyReLU(0.01)]
            channels = width << level
        self.body = nn.Sequential(*layers)
        self.source = nn.Conv2d(channels, 1, 3, 1, 1, bias=False)
        self.label = nn.Conv2d(channels, labels, size >> depth, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[-2:] != (self.size, self.size):
            raise ConfigError(
                f"images of {x.shape[-1]}x{x.shape[-2]} pixels; image_size={self.size}: give crop_size={self.size}"
            )
        h = self.body(x)
        return self.source(h), self.label(h).flatten(1)
