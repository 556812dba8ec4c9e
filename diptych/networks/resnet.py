"""The ResNet generator of CycleGAN (Zhu et al. 2017, 7.2): c7s1-64, d128, d256, R256 x N, u128, u64, c7s1-3."""

from torch import Tensor, nn

from diptych.networks.blur import BlurDownsample, BlurUpsample
from diptych.networks.layers import Norm, bias_before, norm_layers
from diptych.networks.upsampling import Upsample, upsample_layers

FEATURE_BLOCKS = (0, 4)  # residual blocks whose output CUT takes as features


def num_feature_blocks(blocks: int) -> int:
    """Return from how many of the residual blocks CUT takes features."""
    return sum(index < blocks for index in FEATURE_BLOCKS)


class ResNet(nn.Module):
    """(N, in, H, W) to (N, out, H, W) in [-1, 1]; H and W are multiples of 4. Fully convolutional.

    The paper uses 6 blocks at 128 pixels and 9 blocks from 256 pixels. `upsample` is how the decoder doubles the size;
    a transposed convolution is 3x3. With `blur` all convolutions have stride 1 instead, and `BlurDownsample` and
    `BlurUpsample` change the size (Zhang 2019; CUT, Park et al. 2020).
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
        upsample: Upsample = "deconv",
    ) -> None:
        super().__init__()
        bias = bias_before(norm)
        self.stem = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(in_channels, width, 7, bias=bias), *norm_layers(norm, width), nn.ReLU()
        )
        self.down = nn.ModuleList(_downsample(channels, norm, blur) for channels in (width, 2 * width))
        self.blocks = nn.ModuleList(ResidualBlock(4 * width, norm, dropout) for _ in range(blocks))
        self.up = nn.ModuleList(_upsample(channels, norm, blur, upsample) for channels in (2 * width, width))
        self.head = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)[-1])

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps that CUT compares, and last the output of the residual blocks.

        The feature maps are the padded image, the output of each convolution that doubles the channels (before its
        norm), and the outputs of the first and fifth residual block.
        """
        features = [self.stem[0](x)]
        x = self.stem[1:](features[0])
        for down in self.down:
            conv, *rest = down.children()
            x = conv(x)
            features.append(x)
            for layer in rest:
                x = layer(x)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in FEATURE_BLOCKS:
                features.append(x)
        return [*features, x]

    def decode(self, x: Tensor) -> Tensor:
        """Return the image for an output of the residual blocks."""
        for up in self.up:
            x = up(x)
        return self.head(x)


def _downsample(channels: int, norm: Norm, blur: bool) -> nn.Sequential:
    """Return layers from (N, channels, H, W) to (N, 2 channels, H / 2, W / 2)."""
    conv = nn.Conv2d(channels, 2 * channels, 3, 1 if blur else 2, 1, bias=bias_before(norm))
    return nn.Sequential(conv, *norm_layers(norm, 2 * channels), nn.ReLU(), *([BlurDownsample()] if blur else []))


def _upsample(channels: int, norm: Norm, blur: bool, upsample: Upsample) -> nn.Sequential:
    """Return layers from (N, 2 channels, H, W) to (N, channels, 2 H, 2 W)."""
    bias = bias_before(norm)
    if blur:
        layers: list[nn.Module] = [BlurUpsample(), nn.Conv2d(2 * channels, channels, 3, 1, 1, bias=bias)]
    else:
        layers = upsample_layers(upsample, 2 * channels, channels, 3, bias)
    return nn.Sequential(*layers, *norm_layers(norm, channels), nn.ReLU())


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), norms after the convolutions, reflection padding; no activation after the sum."""

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
