"""The ResNet generator of CycleGAN (Zhu et al. 2017, 7.2): c7s1-64, d128, d256, R256 x N, u128, u64, c7s1-3."""

from torch import Tensor, nn

from diptych.nn.blocks import Norm, bias_before, norm_layers


class ResNet(nn.Module):
    """(N, in, H, W) to (N, out, H, W) in [-1, 1]; H and W are multiples of 4. Fully convolutional.

    The paper uses 6 blocks at 128 pixels and 9 from 256 up.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int = 64,
        blocks: int = 9,
        norm: Norm = "instance",
        dropout: bool = False,
    ) -> None:
        super().__init__()
        bias = bias_before(norm)
        self.stem = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(in_channels, width, 7, bias=bias), *norm_layers(norm, width), nn.ReLU()
        )
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(w, 2 * w, 3, 2, 1, bias=bias), *norm_layers(norm, 2 * w), nn.ReLU())
            for w in (width, 2 * width)
        )
        self.blocks = nn.ModuleList(Block(4 * width, norm, dropout) for _ in range(blocks))
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(2 * w, w, 3, 2, 1, output_padding=1, bias=bias), *norm_layers(norm, w), nn.ReLU()
            )
            for w in (2 * width, width)
        )
        self.head = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in (*self.down, *self.blocks, *self.up):
            x = layer(x)
        return self.head(x)


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
