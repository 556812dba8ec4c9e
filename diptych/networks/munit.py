"""The networks of MUNIT (Huang et al. 2018, appendix B.1): content encoder, style encoder, AdaIN decoder.

Convolutions use reflection padding and have no bias if a norm follows that removes it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.networks.resnet import ResidualBlock

EPS = 1e-5
STYLE_DOUBLINGS = 2  # layers of the style encoder that double the channels
STYLE_DOWNSAMPLINGS = 4


class AdaINAutoencoder(nn.Module):
    """Encoders and decoder of one domain. H and W are multiples of 2^n_downsample, at least 32.

    With n = `n_downsample`: `content` maps (N, C, H, W) to (N, 2^n width, H / 2^n, W / 2^n), `style` maps it to
    (N, style_dim), and `decode` maps both back to images in [-1, 1].
    """

    def __init__(
        self, channels: int, width: int, blocks: int, style_dim: int, mlp_dim: int, n_downsample: int = 2
    ) -> None:
        super().__init__()
        content_channels = width * 2**n_downsample
        self.content = ContentEncoder(channels, width, blocks, n_downsample)
        self.style = StyleEncoder(channels, width, style_dim)
        self.mapping = nn.Sequential(
            nn.Linear(style_dim, mlp_dim),
            nn.ReLU(),
            nn.Linear(mlp_dim, mlp_dim),
            nn.ReLU(),
            nn.Linear(mlp_dim, blocks * 4 * content_channels),
        )
        self.decoder = Decoder(channels, width, blocks, n_downsample)

    def decode(self, content: Tensor, style: Tensor) -> Tensor:
        return self.decoder(content, self.mapping(style))


class ContentEncoder(nn.Sequential):
    """c7s1-64, d128, d256, R256 x blocks, each with InstanceNorm; `n_downsample` layers of the kind d."""

    def __init__(self, channels: int, width: int, blocks: int, n_downsample: int = 2) -> None:
        layers = [nn.Sequential(conv(channels, width, 7, bias=False), nn.InstanceNorm2d(width), nn.ReLU())]
        for level in range(n_downsample):
            ins, outs = width * 2**level, width * 2 ** (level + 1)
            layers.append(nn.Sequential(conv(ins, outs, 4, 2, bias=False), nn.InstanceNorm2d(outs), nn.ReLU()))
        outs = width * 2**n_downsample
        super().__init__(*layers, *(ResidualBlock(outs, "instance", dropout=False) for _ in range(blocks)))


class AdaINBlock(nn.Module):
    """A residual block with AdaIN: each norm is followed by a scale and shift computed from the style."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (conv(channels, channels, 3, bias=False) for _ in range(2))

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Return (N, C, H, W). `parameters` (N, 4 C) are shift and scale of the first norm, then of the second."""
        shift1, scale1, shift2, scale2 = parameters[:, :, None, None].chunk(4, 1)
        h = F.relu(scale1 * F.instance_norm(self.conv1(x)) + shift1)
        return x + scale2 * F.instance_norm(self.conv2(h)) + shift2


class StyleEncoder(nn.Module):
    """c7s1-64, d128, d256, d256, d256, global average pooling, linear; no norms, which would remove the style."""

    def __init__(self, channels: int, width: int, style_dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(channels, width, 7), nn.ReLU()]
        outs = width
        for level in range(STYLE_DOWNSAMPLINGS):
            ins, outs = outs, width * 2 ** min(level + 1, STYLE_DOUBLINGS)
            layers += [conv(ins, outs, 4, 2), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(outs, style_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Decoder(nn.Module):
    """R256 x blocks with AdaIN, then u128, u64 with LayerNorm (`n_downsample` layers of the kind u), c7s1-3 and tanh.

    The AdaIN parameters are an argument, not a state as in the public code: calls do not affect each other.
    """

    def __init__(self, channels: int, width: int, blocks: int, n_downsample: int = 2) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AdaINBlock(width * 2**n_downsample) for _ in range(blocks))
        self.up = nn.ModuleList(_upsample(width * 2**level) for level in reversed(range(n_downsample)))
        self.head = conv(width, channels, 7)

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        for block, part in zip(self.blocks, parameters.chunk(len(self.blocks), 1), strict=True):
            x = block(x, part)
        for up in self.up:
            x = up(x)
        return torch.tanh(self.head(x))


def _upsample(channels: int) -> nn.Sequential:
    """Return layers from (N, 2 channels, H, W) to (N, channels, 2 H, 2 W)."""
    return nn.Sequential(nn.Upsample(scale_factor=2.0), conv(2 * channels, channels, 5), LayerNorm(channels), nn.ReLU())


class LayerNorm(nn.Module):
    """(N, C, H, W) minus its mean, divided by its unbiased standard deviation + eps, per image; affine per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels).uniform_())
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        h = x if x.dtype == torch.float64 else x.float()
        dims = (1, 2, 3)
        h = (h - h.mean(dims, keepdim=True)) / (h.std(dims, keepdim=True) + EPS)
        return self.scale[:, None, None] * h + self.shift[:, None, None]


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """Return a convolution with reflection padding that keeps H and W at stride 1 and halves them at stride 2."""
    padding = (kernel - 1) // 2
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=bias, padding_mode="reflect")
