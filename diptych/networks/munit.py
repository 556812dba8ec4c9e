"""The networks of MUNIT (Huang et al. 2018, appendix B.1): an image as content and style, and back.

All convolutions pad by reflection. None has a bias that a norm behind it would remove.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.networks.resnet import Block

EPS = 1e-5
STYLE_DOUBLINGS = 2  # of the channels of the style encoder, whatever the content encoder does
STYLE_HALVINGS = 4


class AdaINAutoencoder(nn.Module):
    """One domain's encoders and decoder. H and W are multiples of 2^n_downsample, 32 at least.

    `content` (N, C, H, W) to (N, 2^n width, H / 2^n, W / 2^n), with n = `n_downsample`; `style` to (N, style_dim);
    `decode` goes back, to [-1, 1].
    """

    def __init__(
        self, channels: int, width: int, blocks: int, style_dim: int, hidden: int, n_downsample: int = 2
    ) -> None:
        super().__init__()
        wide = width * 2**n_downsample
        self.content = ContentEncoder(channels, width, blocks, n_downsample)
        self.style = StyleEncoder(channels, width, style_dim)
        self.mapping = nn.Sequential(
            nn.Linear(style_dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, blocks * 4 * wide),
        )  # fmt: skip
        self.decoder = Decoder(channels, width, blocks, n_downsample)

    def decode(self, content: Tensor, style: Tensor) -> Tensor:
        return self.decoder(content, self.mapping(style))


class ContentEncoder(nn.Sequential):
    """c7s1-64, d128, d256, R256 x blocks, each with InstanceNorm; with as many d as `n_downsample`."""

    def __init__(self, channels: int, width: int, blocks: int, n_downsample: int = 2) -> None:
        layers = [nn.Sequential(conv(channels, width, 7, bias=False), nn.InstanceNorm2d(width), nn.ReLU())]
        for wide in (width * 2**level for level in range(1, n_downsample + 1)):
            down = conv(wide // 2, wide, 4, 2, bias=False)
            layers.append(nn.Sequential(down, nn.InstanceNorm2d(wide), nn.ReLU()))
        wide = width * 2**n_downsample
        super().__init__(*layers, *(Block(wide, "instance", dropout=False) for _ in range(blocks)))


class AdaptiveBlock(nn.Module):
    """A block of the encoder, each norm followed by the scale and shift that a style gives (AdaIN)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (conv(channels, channels, 3, bias=False) for _ in range(2))

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        """`given` is (N, 4 channels): shift and scale of the first norm, then of the second."""
        shift1, scale1, shift2, scale2 = given[:, :, None, None].chunk(4, 1)
        h = F.relu(scale1 * F.instance_norm(self.conv1(x)) + shift1)
        return x + scale2 * F.instance_norm(self.conv2(h)) + shift2


class StyleEncoder(nn.Module):
    """c7s1-64, d128, d256, d256, d256 without norms, which would remove the style; the mean over the image; dense."""

    def __init__(self, channels: int, width: int, style_dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(channels, width, 7), nn.ReLU()]
        for level in range(STYLE_HALVINGS):
            narrow, wide = (width * 2 ** min(each, STYLE_DOUBLINGS) for each in (level, level + 1))
            layers += [conv(narrow, wide, 4, 2), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(wide, style_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Decoder(nn.Module):
    """R256 x blocks by the style, then u128, u64 with LayerNorm (as many u as `n_downsample`), c7s1-3 and tanh.

    What the style gives is an argument, not a state: samples of a batch, and callers, do not meet.
    """

    def __init__(self, channels: int, width: int, blocks: int, n_downsample: int = 2) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AdaptiveBlock(width * 2**n_downsample) for _ in range(blocks))
        self.up = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2.0), conv(2 * wide, wide, 5), LayerNorm(wide), nn.ReLU())
            for wide in (width * 2**level for level in range(n_downsample - 1, -1, -1))
        )
        self.head = conv(width, channels, 7)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        for block, part in zip(self.blocks, given.chunk(len(self.blocks), 1), strict=True):
            x = block(x, part)
        for up in self.up:
            x = up(x)
        return torch.tanh(self.head(x))


class LayerNorm(nn.Module):
    """(N, C, H, W) less its mean, over its unbiased deviation plus eps, image by image; then affine by channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels).uniform_())
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        h, of_image = x if x.dtype == torch.float64 else x.float(), (1, 2, 3)
        h = (h - h.mean(of_image, keepdim=True)) / (h.std(of_image, keepdim=True) + EPS)
        return self.scale[:, None, None] * h + self.shift[:, None, None]


def conv(narrow: int, wide: int, kernel: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """With as much reflection as keeps H and W, or halves them."""
    return nn.Conv2d(narrow, wide, kernel, stride, (kernel - 1) // 2, bias=bias, padding_mode="reflect")
