"""The networks of StarGAN v2 (Choi et al. 2020, appendix A): AdaIN, mapping, style encoder, generator, discriminator.

All are residual blocks with the activation before the convolution, LeakyReLU(0.2), 3x3, zero padding, sum / sqrt 2.
"""

import math
from itertools import pairwise
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Content = tuple[Tensor, ...]  # the bottom of the encoder, then what skips past it, from the deepest out
Masks = tuple[Tensor, Tensor]  # (N, 1, 32, 32) and (N, 1, 64, 64) in [0, 1]: where to keep the source's details
Resample = Literal["down", "up", "none"]

SKIPPED = (32, 64, 128)  # sides of the features that the high-pass skips carry


class Landmarks(Protocol):
    """Images (N, C, H, W) in [-1, 1] to `Masks`; what StarGAN v2's high-pass skips ask a face landmark network."""

    def __call__(self, x: Tensor, /) -> Masks: ...


class AdaIN(nn.Module):
    """(N, C, H, W) normalised per image and channel, then scaled and shifted by a style (N, S): (1 + g(s)) x + b(s)."""

    def __init__(self, style_dim: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels)
        self.fc = nn.Linear(style_dim, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.fc(style)[:, :, None, None].chunk(2, 1)
        return (1 + scale) * self.norm(x) + shift


class Block(nn.Module):
    """A residual block (N, narrow, H, W) to (N, wide, H', W'), with H' = H / 2, 2 H or H.

    `style_dim` 0 is InstanceNorm with affine weights, None is no norm. `shortcut` False leaves the sum out. Where the
    side changes, the shortcut's 1x1 convolution works on the smaller one: the same numbers for a quarter of the work.
    """

    def __init__(
        self,
        narrow: int,
        wide: int,
        resample: Resample = "none",
        style_dim: int | None = None,
        shortcut: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        middle = wide if resample == "up" else narrow
        self.resample, self.residual = resample, shortcut
        self.norm1, self.norm2 = _norm(style_dim, narrow), _norm(style_dim, middle)
        self.conv1 = nn.Conv2d(narrow, middle, 3, 1, 1, bias=style_dim is None)  # else norm2 would remove it
        self.conv2 = nn.Conv2d(middle, wide, 3, 1, 1, bias=bias)
        self.shortcut = nn.Conv2d(narrow, wide, 1, bias=False) if shortcut and narrow != wide else nn.Identity()

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        h = F.leaky_relu(_normed(self.norm1, x, style), 0.2)
        h = self.conv1(_doubled(h) if self.resample == "up" else h)
        h = F.avg_pool2d(h, 2) if self.resample == "down" else h
        h = self.conv2(F.leaky_relu(_normed(self.norm2, h, style), 0.2))
        if not self.residual:
            return h
        straight = self.shortcut(F.avg_pool2d(x, 2) if self.resample == "down" else x)
        return (h + (_doubled(straight) if self.resample == "up" else straight)) / math.sqrt(2)


class Generator(nn.Module):
    """(N, C, H, W) and a style (N, S) to (N, C, H, W), not bounded; H and W are multiples of `size_multiple`.

    `encode` does not see the style: one content serves many. It halves until `size` is 16 pixels, or 8 with
    `highpass` > 0: then blocks of the decoder have no shortcut, and details of the source pass the bottom through a
    Laplacian divided by `highpass`, where `masks` say so. With `tiled` the style enters as planes beside the image
    instead (StarGAN's way), into InstanceNorm blocks. No convolution has a bias that a norm would remove again.
    """

    def __init__(
        self, channels: int, size: int, width: int, most: int, style_dim: int, highpass: float = 0, tiled: bool = False
    ) -> None:
        super().__init__()
        halvings = size.bit_length() - 5 + (highpass > 0)
        widths = [width, *(min(width * 2**level, most) for level in range(1, halvings + 1))]
        self.size_multiple, self.highpass, self.tiled = 2**halvings, highpass, tiled
        self.skips = {level: size >> level for level in range(halvings) if highpass and size >> level in SKIPPED}
        last = max(self.skips, default=-1)  # what skips past the norms is the one thing in which a bias is seen
        self.stem = nn.Conv2d(channels + (style_dim if tiled else 0), width, 3, 1, 1, bias=last >= 0)
        self.down = nn.ModuleList(
            Block(*pair, "down", 0, bias=level < last) for level, pair in enumerate(pairwise(widths))
        )
        self.down.extend(Block(widths[-1], widths[-1], "none", 0, bias=False) for _ in range(2))
        dim, wide = (0 if tiled else style_dim), widths[::-1]
        self.up = nn.ModuleList(Block(wide[0], wide[0], "none", dim, not highpass, bias=False) for _ in range(2))
        self.up.extend(Block(*pair, "up", dim, not highpass, bias=False) for pair in pairwise(wide))
        self.head = nn.Sequential(
            nn.InstanceNorm2d(width, affine=True), nn.LeakyReLU(0.2), nn.Conv2d(width, channels, 1)
        )

    def encode(self, x: Tensor, masks: Masks | None = None) -> Content:
        """What of the source the decoder sees. `masks` are used with `highpass` alone."""
        return (x,) if self.tiled else self._encoded(x, masks)

    def decode(self, content: Content, style: Tensor) -> Tensor:
        if self.tiled:  # nothing is independent of planes that enter at the image
            planes = style[:, :, None, None].expand(-1, -1, *content[0].shape[2:])
            content = self._encoded(torch.cat([content[0], planes], 1), None)
        x, *skips = content
        after = {len(self.up) - 1 - level: skip for level, skip in zip(list(self.skips)[::-1], skips, strict=False)}
        for place, block in enumerate(self.up):
            x = block(x, style)
            x = x + after[place] if place in after else x
        return self.head(x)

    def forward(self, x: Tensor, style: Tensor, masks: Masks | None = None) -> Tensor:
        return self.decode(self.encode(x, masks), style)

    def _encoded(self, x: Tensor, masks: Masks | None) -> Content:
        x = self.stem(x)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            if masks is not None and level in self.skips:
                mask = F.interpolate(masks[self.skips[level] > SKIPPED[0]], x.shape[2:], mode="bilinear")
                skips.insert(0, laplacian(mask * x) / self.highpass)
            x = block(x)
        return (x, *skips)


class MappingNetwork(nn.Module):
    """F: a latent code (N, Z) and domains (N,) to styles (N, S); four shared layers, then four of each domain."""

    def __init__(self, latent_dim: int, style_dim: int, domains: int, hidden: int = 512) -> None:
        super().__init__()
        self.shared = nn.Sequential(*_dense(latent_dim, hidden, 4))
        self.heads = nn.ModuleList(
            nn.Sequential(*_dense(hidden, hidden, 3), nn.Linear(hidden, style_dim)) for _ in range(domains)
        )

    def forward(self, z: Tensor, domain: Tensor) -> Tensor:
        h = self.shared(z)
        return select_domain(torch.stack([head(h) for head in self.heads], 1), domain)


class StyleEncoder(nn.Module):
    """E: images (N, C, size, size) and their domains (N,) to styles (N, S)."""

    def __init__(self, channels: int, size: int, width: int, most: int, style_dim: int, domains: int) -> None:
        super().__init__()
        self.style_dim = style_dim
        self.shared = trunk(channels, size, width, most)
        self.heads = nn.ModuleList(nn.Linear(deepest(size, width, most), style_dim) for _ in range(domains))

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        h = self.shared(x).flatten(1)
        return select_domain(torch.stack([head(h) for head in self.heads], 1), domain)


class Discriminator(nn.Module):
    """D: images (N, C, size, size) to logits (N, outputs)."""

    def __init__(self, channels: int, size: int, width: int, most: int, outputs: int) -> None:
        super().__init__()
        self.shared = trunk(channels, size, width, most)
        self.head = nn.Conv2d(deepest(size, width, most), outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.shared(x)).flatten(1)


def trunk(channels: int, size: int, width: int, most: int) -> nn.Sequential:
    """What E and D share in form: blocks without norm down to 4x4, then a 4x4 convolution: (N, deepest, 1, 1)."""
    widths = [width, *(min(width * 2**level, most) for level in range(1, size.bit_length() - 2))]
    blocks = [Block(*pair, "down") for pair in pairwise(widths)]
    last = nn.Conv2d(widths[-1], widths[-1], 4)
    return nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1), *blocks, nn.LeakyReLU(0.2), last, nn.LeakyReLU(0.2))


def deepest(size: int, width: int, most: int) -> int:
    """Channels behind the trunk."""
    return min(width * 2 ** (size.bit_length() - 3), most) if size > 4 else width


def select_domain(stacked: Tensor, domain: Tensor) -> Tensor:
    """(N, domains, ...) to (N, ...): for each sample the entry of its own domain."""
    return stacked[torch.arange(len(stacked), device=stacked.device), domain]


def laplacian(x: Tensor) -> Tensor:
    """Each channel under the 3x3 kernel of 8 amid -1: nine times a pixel less the mean round it, zero padded."""
    return 9 * (x - F.avg_pool2d(x, 3, 1, 1))


def _norm(style_dim: int | None, channels: int) -> nn.Module:
    if style_dim is None:
        return nn.Identity()
    return AdaIN(style_dim, channels) if style_dim else nn.InstanceNorm2d(channels, affine=True)


def _normed(norm: nn.Module, x: Tensor, style: Tensor | None) -> Tensor:
    return norm(x, style) if isinstance(norm, AdaIN) else norm(x)


def _dense(narrow: int, wide: int, layers: int) -> list[nn.Module]:
    pairs = zip([narrow, *[wide] * layers], [wide] * layers, strict=False)
    return [each for pair in pairs for each in (nn.Linear(*pair), nn.ReLU())]


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
