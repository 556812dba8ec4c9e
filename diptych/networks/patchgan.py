"""The PatchGAN discriminator of pix2pix (Isola et al. 2017, section 3.2.2), by its receptive field."""

from typing import Literal, get_args

from torch import Tensor, nn

from diptych.networks.blur import BlurDownsample
from diptych.networks.layers import Norm, bias_alone, bias_before, norm_layers

ReceptiveField = Literal[1, 16, 34, 70, 142, 286]
N_LAYERS = {
    16: 1,
    34: 2,
    70: 3,
    142: 4,
    286: 5,
}  # by receptive field: convolutions of stride 2, as in public code


class PatchGAN(nn.Module):
    """(N, in, H, W) to a map of logits (N, 1, h, w), each for a patch of `receptive_field` pixels in both directions.

    The paper uses 70. 1 classifies single pixels (PixelGAN), 286 whole images of 256 pixels (ImageGAN). With `blur`
    the network downsamples by `BlurDownsample` instead of strides (CUT, Park et al. 2020), and `receptive_field`
    gives only the number of layers. Raises ValueError for another receptive field or norm.
    """

    def __init__(
        self,
        in_channels: int,
        receptive_field: ReceptiveField = 70,
        width: int = 64,
        norm: Norm = "batch",
        blur: bool = False,
    ) -> None:
        super().__init__()
        if receptive_field not in get_args(ReceptiveField):
            known = ", ".join(map(str, get_args(ReceptiveField)))
            raise ValueError(f"receptive_field={receptive_field!r}: expected one of {known}")
        if receptive_field == 1:
            layers = _pixel_layers(in_channels, width, norm)
        else:
            layers = _patch_layers(in_channels, N_LAYERS[receptive_field], width, norm, blur)
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _pixel_layers(in_channels: int, width: int, norm: Norm) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, width, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 1, bias=bias_before(norm)),
        *norm_layers(norm, 2 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 1, bias=bias_alone(norm)),
    ]


def _patch_layers(in_channels: int, n_layers: int, width: int, norm: Norm, blur: bool) -> list[nn.Module]:
    stride = 1 if blur else 2
    downsample = [BlurDownsample()] if blur else []
    layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride, 1), nn.LeakyReLU(0.2), *downsample]
    outs = width
    for level in range(1, n_layers + 1):
        ins, outs = outs, width * min(2**level, 8)
        last = level == n_layers
        layers += [
            nn.Conv2d(ins, outs, 4, 1 if last else stride, 1, bias=bias_before(norm)),
            *norm_layers(norm, outs),
            nn.LeakyReLU(0.2),
            *([] if last else downsample),
        ]
    return [*layers, nn.Conv2d(outs, 1, 4, 1, 1)]
