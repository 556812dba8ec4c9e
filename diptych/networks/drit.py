"""The networks of DRIT and DRIT++ (Lee et al. 2018, 2020): content and attributes of two domains, and back.

Domain a is 0, b is 1. Convolutions pad by reflection; none has a bias that a norm behind it would remove.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.networks.layers import next_to
from diptych.networks.munit import StyleEncoder, conv
from diptych.networks.resnet import Block

CONTENT = 4  # times the width of the first layer


class ContentEncoder(nn.Module):
    """(N, C, H, W) to (N, 4 width, H / 4, W / 4): a network of each domain, then a block that both share, and noise.

    The noise, of that deviation, is there in training alone.
    """

    def __init__(self, channels: tuple[int, int], width: int, noise: float) -> None:
        super().__init__()
        wide = CONTENT * width
        self.own = nn.ModuleList(
            nn.Sequential(
                conv(each, width, 7), nn.LeakyReLU(0.01),
                *_down(width, 2 * width), *_down(2 * width, wide),
                *(Block(wide, "instance", dropout=False) for _ in range(3)),
            )
            for each in channels
        )  # fmt: skip
        self.shared = Block(wide, "instance", dropout=False)
        self.noise = noise

    def forward(self, x: Tensor, domain: int) -> Tensor:
        content = self.shared(self.own[domain](x))
        return content + self.noise * torch.randn_like(content) if self.training and self.noise else content


def _down(narrow: int, wide: int) -> list[nn.Module]:
    return [conv(narrow, wide, 3, 2, bias=False), nn.InstanceNorm2d(wide), nn.ReLU()]


class AttributeEncoder(nn.Module):
    """(N, C, H, W) to mean and log-variance of its attributes, (N, K) each: the variant that concatenates."""

    def __init__(self, channels: int, width: int, size: int) -> None:
        super().__init__()
        widths = [width * level for level in range(1, 5)]
        self.body = nn.Sequential(
            conv(channels, width, 4, 2), *(Pooling(*pair) for pair in pairwise(widths)), nn.LeakyReLU(0.2)
        )
        self.mean, self.log_variance = nn.Linear(widths[-1], size), nn.Linear(widths[-1], size)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x).mean((2, 3))
        return self.mean(h), self.log_variance(h)


class Pooling(nn.Module):
    """A residual block (N, narrow, H, W) to (N, wide, H / 2, W / 2) without norms."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(narrow, narrow, 3), conv(narrow, wide, 3)
        self.shortcut = nn.Conv2d(narrow, wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x, 0.2)), 0.2))
        return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))


class Fixed(nn.Module):
    """The same without a variance, by MUNIT's style encoder: of the feature-wise variant."""

    def __init__(self, channels: int, width: int, size: int) -> None:
        super().__init__()
        self.style = StyleEncoder(channels, width, size)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return self.style(x), None


class ConcatDecoder(nn.Module):
    """One domain's decoder: the attributes (N, K) stand beside the features, as planes, at each of its sizes."""

    def __init__(self, channels: int, width: int, size: int) -> None:
        super().__init__()
        wide = CONTENT * width + size
        self.blocks = nn.Sequential(*(Block(wide, "instance", dropout=False) for _ in range(3)))
        halves = [wide]
        self.up = nn.ModuleList()
        for _ in range(2):
            self.up.append(_up(halves[-1] + size, (halves[-1] + size) // 2))
            halves.append((halves[-1] + size) // 2)
        self.head = nn.Conv2d(halves[-1] + size, channels, 1)

    def forward(self, x: Tensor, attributes: Tensor) -> Tensor:
        x = self.blocks(next_to(x, attributes))
        for up in self.up:
            x = up(next_to(x, attributes))
        return torch.tanh(self.head(next_to(x, attributes)))


class MixedDecoder(nn.Module):
    """One domain's decoder of the feature-wise variant: a dense network gives each block its part of the attributes."""

    def __init__(self, channels: int, width: int, size: int) -> None:
        super().__init__()
        wide = CONTENT * width
        self.mapping = nn.Sequential(
            nn.Linear(size, wide), nn.ReLU(), nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, 4 * wide)
        )
        self.blocks = nn.ModuleList(MixedBlock(wide) for _ in range(4))
        self.up = nn.Sequential(_up(wide, wide // 2), _up(wide // 2, wide // 4))
        self.head = nn.Conv2d(wide // 4, channels, 1)

    def forward(self, x: Tensor, attributes: Tensor) -> Tensor:
        for block, part in zip(self.blocks, self.mapping(attributes).chunk(4, 1), strict=True):
            x = block(x, part)
        return torch.tanh(self.head(self.up(x)))


class MixedBlock(nn.Module):
    """A residual block in which, behind each norm, 1x1 convolutions mix features with as many planes of attributes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (conv(channels, channels, 3, bias=False) for _ in range(2))
        self.mix1, self.mix2 = (
            nn.Sequential(
                nn.Conv2d(2 * channels, 2 * channels, 1), nn.ReLU(), nn.Conv2d(2 * channels, channels, 1), nn.ReLU()
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor, attributes: Tensor) -> Tensor:
        h = self.mix1(next_to(F.instance_norm(self.conv1(x)), attributes))
        return x + self.mix2(next_to(F.instance_norm(self.conv2(h)), attributes))


class Generator(nn.Module):
    """Contents and attributes of a domain to its images (N, C, H, W) in [-1, 1]."""

    def __init__(self, channels: tuple[int, int], width: int, size: int, concat: bool) -> None:
        super().__init__()
        decoder = ConcatDecoder if concat else MixedDecoder
        self.shared = Block(CONTENT * width, "instance", dropout=False) if concat else nn.Identity()
        self.own = nn.ModuleList(decoder(each, width, size) for each in channels)

    def forward(self, content: Tensor, attributes: Tensor, domain: int) -> Tensor:
        return self.own[domain](self.shared(content), attributes)


def dense_layers(net: nn.Module) -> list[nn.Linear]:
    """Those of attributes and mappings; a style encoder's last stands for a 1x1 convolution, and is none of them."""
    found: list[nn.Module] = []
    for module in net.modules():
        if isinstance(module, AttributeEncoder):
            found += [module.mean, module.log_variance]
        elif isinstance(module, MixedDecoder):
            found += module.mapping
    return [layer for layer in found if isinstance(layer, nn.Linear)]


class ContentDiscriminator(nn.Sequential):
    """Contents to logits (N, 1, h, w) of their domain; at the paper's 54 x 54 a single one."""

    def __init__(self, channels: int, depth: int, kernel: int) -> None:
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [
                nn.Conv2d(channels, channels, kernel, 2, 1, padding_mode="reflect"), nn.LeakyReLU(0.01)
            ]  # fmt: skip
        super().__init__(*layers, nn.Conv2d(channels, channels, 4), nn.LeakyReLU(0.01), nn.Conv2d(channels, 1, 1))


def critic_side(side: int, depth: int, kernel: int) -> int:
    """Of its logits, for contents of that side; below 1 they do not fit."""
    for _ in range(depth):
        side = (side + 2 - kernel) // 2 + 1
    return side - 3


class ImageNorm(nn.Module):
    """(N, C, H, W) normalised over each image, then affine by channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[1:]) * self.scale[:, None, None] + self.shift[:, None, None]


def _up(narrow: int, wide: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(narrow, wide, 3, 2, 1, output_padding=1), ImageNorm(wide), nn.ReLU()
    )  # fmt: skip
