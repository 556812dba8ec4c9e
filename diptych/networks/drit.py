"""The networks of DRIT and DRIT++ (Lee et al. 2018, 2020): content and attribute encoders, generators, discriminators.

Domain a is 0, domain b is 1. Convolutions use reflection padding and have no bias if a norm follows that removes it.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.networks.layers import next_to
from diptych.networks.munit import StyleEncoder, conv
from diptych.networks.resnet import ResidualBlock

CONTENT_MULTIPLIER = 4  # channels of the content code, as a multiple of those of the first layer


class ContentEncoder(nn.Module):
    """(N, C, H, W) to content codes (N, 4 width, H / 4, W / 4): layers of each domain, then a block shared by both.

    In training, Gaussian noise with standard deviation `noise` is added to the output.
    """

    def __init__(self, channels: tuple[int, int], width: int, noise: float) -> None:
        super().__init__()
        self.own = nn.ModuleList(_content_layers(in_channels, width) for in_channels in channels)
        self.shared = ResidualBlock(CONTENT_MULTIPLIER * width, "instance", dropout=False)
        self.noise = noise

    def forward(self, x: Tensor, domain: int) -> Tensor:
        content = self.shared(self.own[domain](x))
        return content + self.noise * torch.randn_like(content) if self.training and self.noise else content


def _content_layers(in_channels: int, width: int) -> nn.Sequential:
    """Return the layers of one domain: (N, in, H, W) to (N, 4 width, H / 4, W / 4)."""
    out_channels = CONTENT_MULTIPLIER * width
    return nn.Sequential(
        conv(in_channels, width, 7),
        nn.LeakyReLU(0.01),
        *_downsample(width, 2 * width),
        *_downsample(2 * width, out_channels),
        *(ResidualBlock(out_channels, "instance", dropout=False) for _ in range(3)),
    )


def _downsample(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [conv(in_channels, out_channels, 3, 2, bias=False), nn.InstanceNorm2d(out_channels), nn.ReLU()]


class AttributeEncoder(nn.Module):
    """(N, C, H, W) to the mean and log-variance of its attribute code, (N, K) each: the variant that concatenates."""

    def __init__(self, channels: int, width: int, attribute_dim: int) -> None:
        super().__init__()
        widths = [width * level for level in range(1, 5)]
        self.body = nn.Sequential(
            conv(channels, width, 4, 2), *(DownsampleBlock(*pair) for pair in pairwise(widths)), nn.LeakyReLU(0.2)
        )
        self.mean = nn.Linear(widths[-1], attribute_dim)
        self.log_variance = nn.Linear(widths[-1], attribute_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x).mean((2, 3))
        return self.mean(h), self.log_variance(h)


class DownsampleBlock(nn.Module):
    """A residual block (N, in, H, W) to (N, out, H / 2, W / 2) with average pooling and without norms."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, in_channels, 3)
        self.conv2 = conv(in_channels, out_channels, 3)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x, 0.2)), 0.2))
        return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))


class DeterministicAttributeEncoder(nn.Module):
    """(N, C, H, W) to attribute codes (N, K), without variance: MUNIT's style encoder (feature-wise variant)."""

    def __init__(self, channels: int, width: int, attribute_dim: int) -> None:
        super().__init__()
        self.style = StyleEncoder(channels, width, attribute_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return self.style(x), None


class ConcatDecoder(nn.Module):
    """The decoder of one domain: the attribute code (N, K) is concatenated to the features at each of their sizes."""

    def __init__(self, channels: int, width: int, attribute_dim: int) -> None:
        super().__init__()
        in_channels = CONTENT_MULTIPLIER * width + attribute_dim
        self.blocks = nn.Sequential(*(ResidualBlock(in_channels, "instance", dropout=False) for _ in range(3)))
        self.up = nn.ModuleList()
        for _ in range(2):
            out_channels = (in_channels + attribute_dim) // 2
            self.up.append(_upsample(in_channels + attribute_dim, out_channels))
            in_channels = out_channels
        self.head = nn.Conv2d(in_channels + attribute_dim, channels, 1)

    def forward(self, x: Tensor, attributes: Tensor) -> Tensor:
        x = self.blocks(next_to(x, attributes))
        for up in self.up:
            x = up(next_to(x, attributes))
        return torch.tanh(self.head(next_to(x, attributes)))


class FeatureWiseDecoder(nn.Module):
    """The decoder of one domain in the feature-wise variant: an MLP maps the attribute code to one code per block."""

    def __init__(self, channels: int, width: int, attribute_dim: int) -> None:
        super().__init__()
        features = CONTENT_MULTIPLIER * width
        self.mapping = nn.Sequential(
            nn.Linear(attribute_dim, features),
            nn.ReLU(),
            nn.Linear(features, features),
            nn.ReLU(),
            nn.Linear(features, 4 * features),
        )
        self.blocks = nn.ModuleList(FeatureWiseBlock(features) for _ in range(4))
        self.up = nn.Sequential(_upsample(features, features // 2), _upsample(features // 2, features // 4))
        self.head = nn.Conv2d(features // 4, channels, 1)

    def forward(self, x: Tensor, attributes: Tensor) -> Tensor:
        for block, code in zip(self.blocks, self.mapping(attributes).chunk(4, 1), strict=True):
            x = block(x, code)
        return torch.tanh(self.head(self.up(x)))


class FeatureWiseBlock(nn.Module):
    """A residual block that, after each norm, mixes the features with the attribute code (N, C) by 1x1 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (conv(channels, channels, 3, bias=False) for _ in range(2))
        self.mix1, self.mix2 = (_mix(channels) for _ in range(2))

    def forward(self, x: Tensor, attributes: Tensor) -> Tensor:
        h = self.mix1(next_to(F.instance_norm(self.conv1(x)), attributes))
        return x + self.mix2(next_to(F.instance_norm(self.conv2(h)), attributes))


def _mix(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2 * channels, 2 * channels, 1), nn.ReLU(), nn.Conv2d(2 * channels, channels, 1), nn.ReLU()
    )


class Generator(nn.Module):
    """Content codes and attribute codes of a domain to its images (N, C, H, W) in [-1, 1]."""

    def __init__(self, channels: tuple[int, int], width: int, attribute_dim: int, concat: bool) -> None:
        super().__init__()
        decoder = ConcatDecoder if concat else FeatureWiseDecoder
        block = ResidualBlock(CONTENT_MULTIPLIER * width, "instance", dropout=False) if concat else nn.Identity()
        self.shared: nn.Module = block
        self.own = nn.ModuleList(decoder(out_channels, width, attribute_dim) for out_channels in channels)

    def forward(self, content: Tensor, attributes: Tensor, domain: int) -> Tensor:
        return self.own[domain](self.shared(content), attributes)


def linear_layers(net: nn.Module) -> list[nn.Linear]:
    """Return the linear layers of attribute encoders and mappings.

    The last layer of a style encoder is not among them: in the public code it is a 1x1 convolution.
    """
    layers: list[nn.Module] = []
    for module in net.modules():
        if isinstance(module, AttributeEncoder):
            layers += [module.mean, module.log_variance]
        elif isinstance(module, FeatureWiseDecoder):
            layers += module.mapping
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


class ContentDiscriminator(nn.Sequential):
    """Content codes to logits (N, 1, h, w) of their domain; 1 x 1 for the paper's codes of 54 x 54."""

    def __init__(self, channels: int, depth: int, kernel: int) -> None:
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers.append(nn.Conv2d(channels, channels, kernel, 2, 1, padding_mode="reflect"))
            layers.append(nn.LeakyReLU(0.01))
        super().__init__(*layers, nn.Conv2d(channels, channels, 4), nn.LeakyReLU(0.01), nn.Conv2d(channels, 1, 1))


def content_logits_size(size: int, depth: int, kernel: int) -> int:
    """Return the height of the content discriminator's logits for codes of height `size`; below 1: codes too small."""
    for _ in range(depth):
        size = (size + 2 - kernel) // 2 + 1
    return size - 3


class ImageNorm(nn.Module):
    """(N, C, H, W) normalised over each image, then scaled and shifted per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[1:]) * self.scale[:, None, None] + self.shift[:, None, None]


def _upsample(in_channels: int, out_channels: int) -> nn.Sequential:
    conv_transpose = nn.ConvTranspose2d(in_channels, out_channels, 3, 2, 1, output_padding=1)
    return nn.Sequential(conv_transpose, ImageNorm(out_channels), nn.ReLU())
