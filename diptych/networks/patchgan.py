"""The PatchGAN discriminator of pix2pix (Isola et al. 2017, section 3.2.2), by the receptive field of one output."""

from typing import Literal

from torch import Tensor, nn

from diptych.networks.blur import BlurDownsample
from diptych.networks.layers import Norm, bias_alone, bias_before, norm_layers

ReceptiveField = Literal[1, 16, 34, 70, 142, 286]
HALVINGS = {16: 1, 34: 2, 70: 3, 142: 4, 286: 5}  # stride-2 convolutions of the network with that field


class PatchGAN(nn.Module):
    """(N, in, H, W) to a map of logits (N, 1, h, w), each judging a patch of `field` x `field` pixels.

    70 is the paper's choice; 1 judges single pixels (PixelGAN), 286 whole pictures of 256 pixels (ImageGAN). With
    `blur` it halves by filters, and no convolution has a stride (CUT, Park et al. 2020); the field is then a name.
    """

    def __init__(
        self, in_channels: int, field: ReceptiveField = 70, width: int = 64, norm: Norm = "batch", blur: bool = False
    ) -> None:
        super().__init__()
        sizes = (width, norm)
        layers = _pixel(in_channels, *sizes) if field == 1 else _patch(in_channels, HALVINGS[field], *sizes, blur)
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _pixel(in_channels: int, width: int, norm: Norm) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, width, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 1, bias=bias_before(norm)),
        *norm_layers(norm, 2 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 1, bias=bias_alone(norm)),
    ]


def _patch(in_channels: int, halvings: int, width: int, norm: Norm, blur: bool) -> list[nn.Module]:
    stride, halve = (1, [BlurDownsample()]) if blur else (2, [])
    layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride, 1), nn.LeakyReLU(0.2), *halve]
    for level in range(1, halvings + 1):
        narrow, wide = (width * min(2**k, 8) for k in (level - 1, level))
        last = level == halvings
        layers += [
            nn.Conv2d(narrow, wide, 4, 1 if last else stride, 1, bias=bias_before(norm)),
            *norm_layers(norm, wide),
            nn.LeakyReLU(0.2),
            *([] if last else halve),
        ]
    return [*layers, nn.Conv2d(wide, 1, 4, 1, 1)]
