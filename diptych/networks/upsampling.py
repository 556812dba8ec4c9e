"""Layers of U-Net and ResNet generators that double height and width.

deconv         a transposed convolution, as in the papers. Where its kernels overlap unevenly, checkerboards appear.
resize_conv    bilinear interpolation and a 3x3 convolution with reflection padding (Odena et al. 2016, Distill);
               `bilinear` in the public code of BicycleGAN
pixel_shuffle  a 3x3 convolution to four times the channels, which are rearranged to 2x2 pixels (Shi et al. 2016,
               arXiv 1609.05158)
"""

from typing import Literal

from torch import Tensor, nn

Upsample = Literal["deconv", "resize_conv", "pixel_shuffle"]


class SubpixelConv(nn.Conv2d):
    """(N, in, H, W) to (N, out, 2 H, 2 W): a 3x3 convolution and a pixel shuffle.

    `layers.initialise` gives the four kernels of an output channel equal weights, so that it starts as nearest
    neighbour interpolation, without checkerboards (ICNR, Aitken et al. 2017, arXiv 1707.02937).
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool) -> None:
        super().__init__(in_channels, 4 * out_channels, 3, 1, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(super().forward(x), 2)


def upsample_layers(kind: Upsample, in_channels: int, out_channels: int, kernel: int, bias: bool) -> list[nn.Module]:
    """Return layers from (N, in, H, W) to (N, out, 2 H, 2 W). `kernel` is the size of a transposed convolution, 3 or 4.

    The other kinds always have 3x3 convolutions.
    """
    if kind == "deconv":
        return [nn.ConvTranspose2d(in_channels, out_channels, kernel, 2, 1, output_padding=kernel % 2, bias=bias)]
    if kind == "pixel_shuffle":
        return [SubpixelConv(in_channels, out_channels, bias)]
    interpolation = nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)
    return [interpolation, nn.ReflectionPad2d(1), nn.Conv2d(in_channels, out_channels, 3, bias=bias)]
