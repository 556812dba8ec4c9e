"""The ResNet generator of CycleGAN (Zhu et al. 2017, 7.2): c7s1-64, d128, d256, R256 x N, u128, u64, c7s1-3."""

from torch import Tensor, nn

from diptych.networks.blur import BlurDownsample, BlurUpsample
from diptych.networks.layers import Norm, bias_before, norm_layers

TAPPED = (0, 4)  # blocks whose output CUT looks at


def num_tapped(blocks: int) -> int:
    """Return from how many of so many residual blocks CUT takes features."""
    return sum(place < blocks for place in TAPPED)


class ResNet(nn.Module):
    """(N, in, H, W) to (N, out, H, W) in [-1, 1]; H and W are multiples of 4. Fully convolutional.

    The paper uses 6 blocks at 128 pixels and 9 from 256 up. With `blur` it halves and doubles by filters, and the
    convolutions between have stride 1 (Zhang 2019; CUT, Park et al. 2020).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int = 64,
        blocks: int = 9,
        norm: Norm = "instance",
        dropout: bool = False,
        blur: bool = False,
    ) -> None:
        super().__init__()
        bias = bias_before(norm)
        self.stem = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(in_channels, width, 7, bias=bias), *norm_layers(norm, width), nn.ReLU()
        )
        self.down = nn.ModuleList(_down(w, norm, blur) for w in (width, 2 * width))
        self.blocks = nn.ModuleList(Block(4 * width, norm, dropout) for _ in range(blocks))
        self.up = nn.ModuleList(_up(w, norm, blur) for w in (2 * width, width))
        self.head = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)[-1])

    def encode(self, x: Tensor) -> list[Tensor]:
        """What CUT holds against each other, and last what the blocks make.

        The padded image; each convolution that doubles the channels, before its norm; the first block and the fifth.
        """
        seen = [self.stem[0](x)]
        x = self.stem[1:](seen[0])
        for down in self.down:
            conv, *rest = down.children()
            x = conv(x)
            seen.append(x)
            for layer in rest:
                x = layer(x)
        for place, block in enumerate(self.blocks):
            x = block(x)
            if place in TAPPED:
                seen.append(x)
        return [*seen, x]

    def decode(self, x: Tensor) -> Tensor:
        """From what the blocks made to an image."""
        for up in self.up:
            x = up(x)
        return self.head(x)


def _down(width: int, norm: Norm, blur: bool) -> nn.Sequential:
    conv = nn.Conv2d(width, 2 * width, 3, 1 if blur else 2, 1, bias=bias_before(norm))
    return nn.Sequential(conv, *norm_layers(norm, 2 * width), nn.ReLU(), *([BlurDownsample()] if blur else []))


def _up(width: int, norm: Norm, blur: bool) -> nn.Sequential:
    bias = bias_before(norm)
    if blur:
        layers: list[nn.Module] = [BlurUpsample(), nn.Conv2d(2 * width, width, 3, 1, 1, bias=bias)]
    else:
        layers = [nn.ConvTranspose2d(2 * width, width, 3, 2, 1, output_padding=1, bias=bias)]
    return nn.Sequential(*layers, *norm_layers(norm, width), nn.ReLU())


class Block(nn.Module):
    """x + conv(conv(x)), with reflection padding and no activation behind the sum."""

    def __init__(self, channels: int, norm: Norm, dropout: bool) -> None:
        super().__init__()
        bias = bias_before(norm)
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            *norm_layers(norm, channels),
            nn.ReLU(),
            *([nn.Dropout(0.5)] if dropout else []),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            *norm_layers(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)
