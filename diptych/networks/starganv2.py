"""The networks of StarGAN v2 (Choi et al. 2020, appendix A): generator, mapping network, style encoder, discriminator.

All are residual blocks with pre-activation LeakyReLU(0.2), 3x3 convolutions, zero padding, and the sum divided by the
square root of 2.
"""

import math
from itertools import pairwise
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Content = tuple[Tensor, ...]  # output of the encoder, then the high-pass skip connections, the deepest first
Masks = tuple[Tensor, Tensor]  # (N, 1, H, W) in [0, 1], of any size: where to keep details of the source, at 32 pixels
# and at 64 and 128
Resample = Literal["down", "up", "none"]

SKIP_SIZES = (32, 64, 128)  # heights in pixels of the feature maps with high-pass skip connections


class LandmarkNetwork(Protocol):
    """Images (N, C, H, W) in [-1, 1] to `Masks` of face landmarks, for the high-pass skip connections."""

    def __call__(self, x: Tensor, /) -> Masks: ...


class AdaIN(nn.Module):
    """(N, C, H, W) normalised per image and channel, then (1 + g(s)) x + b(s) for a style code s (N, S)."""

    def __init__(self, style_dim: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels)
        self.fc = nn.Linear(style_dim, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.fc(style)[:, :, None, None].chunk(2, 1)
        return (1 + scale) * self.norm(x) + shift


class ResidualBlock(nn.Module):
    """A residual block (N, in, H, W) to (N, out, H', W'), with H' = H / 2, 2 H or H by `resample`.

    The norms are AdaIN if `style_dim` > 0, InstanceNorm with affine weights if it is 0, absent if it is None. With
    `shortcut` False there is no sum. The 1x1 convolution of the shortcut runs at the smaller of the two sizes, which
    gives the same values for a quarter of the computation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        resample: Resample = "none",
        style_dim: int | None = None,
        shortcut: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        hidden = out_channels if resample == "up" else in_channels
        self.resample, self.residual = resample, shortcut
        self.norm1, self.norm2 = _norm(style_dim, in_channels), _norm(style_dim, hidden)
        self.conv1 = nn.Conv2d(in_channels, hidden, 3, 1, 1, bias=style_dim is None)  # norm2 would remove a bias
        self.conv2 = nn.Conv2d(hidden, out_channels, 3, 1, 1, bias=bias)
        self.shortcut: nn.Module = nn.Identity()
        if shortcut and in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        h = F.leaky_relu(_apply_norm(self.norm1, x, style), 0.2)
        h = self.conv1(_upsample(h) if self.resample == "up" else h)
        h = F.avg_pool2d(h, 2) if self.resample == "down" else h
        h = self.conv2(F.leaky_relu(_apply_norm(self.norm2, h, style), 0.2))
        if not self.residual:
            return h
        shortcut = self.shortcut(F.avg_pool2d(x, 2) if self.resample == "down" else x)
        return (h + (_upsample(shortcut) if self.resample == "up" else shortcut)) / math.sqrt(2)


class Generator(nn.Module):
    """(N, C, H, W) and style codes (N, S) to (N, C, H, W), not bounded; H and W are multiples of `size_multiple`.

    `encode` does not depend on the style: one content serves several styles. It downsamples until `size` is 16 pixels,
    or 8 with `highpass` > 0. In the latter case blocks of the decoder have no shortcut, and skip connections add the
    Laplacian of encoder features, divided by `highpass`, where `masks` are 1. With `tiled` the style is concatenated
    to the image as constant planes, as in StarGAN, and the blocks use InstanceNorm. Convolutions have no bias if a
    norm follows that removes it.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        width: int,
        max_width: int,
        style_dim: int,
        highpass: float = 0,
        tiled: bool = False,
    ) -> None:
        super().__init__()
        n_downsample = size.bit_length() - 5 + (highpass > 0)
        widths = _widths(width, max_width, n_downsample)
        self.size_multiple, self.highpass, self.tiled = 2**n_downsample, highpass, tiled
        sizes = {level: size >> level for level in range(n_downsample)}
        self.skips = {level: pixels for level, pixels in sizes.items() if highpass and pixels in SKIP_SIZES}
        last_skip = max(self.skips, default=-1)  # skip connections bypass the norms: up to here a bias has an effect
        self.stem = nn.Conv2d(channels + (style_dim if tiled else 0), width, 3, 1, 1, bias=last_skip >= 0)
        self.down = nn.ModuleList(
            ResidualBlock(ins, outs, "down", 0, bias=level < last_skip)
            for level, (ins, outs) in enumerate(pairwise(widths))
        )
        self.down.extend(ResidualBlock(widths[-1], widths[-1], "none", 0, bias=False) for _ in range(2))
        norm_dim, shortcut = (0 if tiled else style_dim), not highpass
        self.up = nn.ModuleList(
            ResidualBlock(widths[-1], widths[-1], "none", norm_dim, shortcut, bias=False) for _ in range(2)
        )
        self.up.extend(
            ResidualBlock(ins, outs, "up", norm_dim, shortcut, bias=False) for ins, outs in pairwise(widths[::-1])
        )
        self.head = nn.Sequential(
            nn.InstanceNorm2d(width, affine=True), nn.LeakyReLU(0.2), nn.Conv2d(width, channels, 1)
        )

    def encode(self, x: Tensor, masks: Masks | None = None) -> Content:
        """Return what the decoder needs of the source image. `masks` are used only with `highpass`."""
        return (x,) if self.tiled else self._encode(x, masks)

    def decode(self, content: Content, style: Tensor) -> Tensor:
        """Return the image (N, C, H, W) for an encoded source and style codes (N, S)."""
        if self.tiled:  # the style enters with the image, so the encoder depends on it
            planes = style[:, :, None, None].expand(-1, -1, *content[0].shape[2:])
            content = self._encode(torch.cat([content[0], planes], 1), None)
        x, *skips = content
        levels = reversed(self.skips)
        skip_after = {len(self.up) - 1 - level: skip for level, skip in zip(levels, skips, strict=False)}
        for index, block in enumerate(self.up):
            x = block(x, style)
            if index in skip_after:
                x = x + skip_after[index]
        return self.head(x)

    def forward(self, x: Tensor, style: Tensor, masks: Masks | None = None) -> Tensor:
        return self.decode(self.encode(x, masks), style)

    def _encode(self, x: Tensor, masks: Masks | None) -> Content:
        x = self.stem(x)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            if masks is not None and level in self.skips:
                coarse, fine = masks
                mask = fine if self.skips[level] > SKIP_SIZES[0] else coarse
                mask = F.interpolate(mask, x.shape[2:], mode="bilinear")
                skips.insert(0, laplacian(mask * x) / self.highpass)
            x = block(x)
        return (x, *skips)


class MappingNetwork(nn.Module):
    """F: latent codes (N, Z) and domains (N,) to style codes (N, S); four shared layers, then four per domain."""

    def __init__(self, latent_dim: int, style_dim: int, domains: int, hidden_dim: int = 512) -> None:
        super().__init__()
        self.shared = nn.Sequential(*_linear_layers(latent_dim, hidden_dim, 4))
        self.heads = nn.ModuleList(
            nn.Sequential(*_linear_layers(hidden_dim, hidden_dim, 3), nn.Linear(hidden_dim, style_dim))
            for _ in range(domains)
        )

    def forward(self, z: Tensor, domain: Tensor) -> Tensor:
        h = self.shared(z)
        return select_domain(torch.stack([head(h) for head in self.heads], 1), domain)


class StyleEncoder(nn.Module):
    """E: images (N, C, size, size) and their domains (N,) to style codes (N, S)."""

    def __init__(self, channels: int, size: int, width: int, max_width: int, style_dim: int, domains: int) -> None:
        super().__init__()
        self.style_dim = style_dim
        self.shared = trunk(channels, size, width, max_width)
        features = trunk_features(size, width, max_width)
        self.heads = nn.ModuleList(nn.Linear(features, style_dim) for _ in range(domains))

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        h = self.shared(x).flatten(1)
        return select_domain(torch.stack([head(h) for head in self.heads], 1), domain)


class Discriminator(nn.Module):
    """D: images (N, C, size, size) to logits (N, outputs)."""

    def __init__(self, channels: int, size: int, width: int, max_width: int, outputs: int) -> None:
        super().__init__()
        self.shared = trunk(channels, size, width, max_width)
        self.head = nn.Conv2d(trunk_features(size, width, max_width), outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.shared(x)).flatten(1)


def trunk(channels: int, size: int, width: int, max_width: int) -> nn.Sequential:
    """Return the layers that E and D have alike: (N, C, size, size) to (N, features, 1, 1), without norms."""
    widths = _widths(width, max_width, size.bit_length() - 3)
    blocks = [ResidualBlock(ins, outs, "down") for ins, outs in pairwise(widths)]
    last = nn.Conv2d(widths[-1], widths[-1], 4)
    return nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1), *blocks, nn.LeakyReLU(0.2), last, nn.LeakyReLU(0.2))


def trunk_features(size: int, width: int, max_width: int) -> int:
    """Return the number of output features of `trunk`."""
    return _widths(width, max_width, size.bit_length() - 3)[-1]


def _widths(width: int, max_width: int, n_downsample: int) -> list[int]:
    """Return the channels at each size: doubled with each downsampling, at most `max_width`."""
    return [width, *(min(width * 2**level, max_width) for level in range(1, n_downsample + 1))]


def select_domain(stacked: Tensor, domain: Tensor) -> Tensor:
    """Return, from outputs (N, domains, ...) of all domains, the one of each sample's domain: (N, ...)."""
    return stacked[torch.arange(len(stacked), device=stacked.device), domain]


def laplacian(x: Tensor) -> Tensor:
    """Return the Laplacian of each channel: the 3x3 kernel with 8 in the centre and -1 around it, zero padding."""
    return 9 * (x - F.avg_pool2d(x, 3, 1, 1))


def _norm(style_dim: int | None, channels: int) -> nn.Module:
    if style_dim is None:
        return nn.Identity()
    return AdaIN(style_dim, channels) if style_dim else nn.InstanceNorm2d(channels, affine=True)


def _apply_norm(norm: nn.Module, x: Tensor, style: Tensor | None) -> Tensor:
    return norm(x, style) if isinstance(norm, AdaIN) else norm(x)


def _linear_layers(in_features: int, out_features: int, count: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for index in range(count):
        layers += [nn.Linear(out_features if index else in_features, out_features), nn.ReLU()]
    return layers


def _upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
