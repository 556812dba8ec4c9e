"""A small convolutional classifier: downsampling stages, global average pooling, a linear layer."""

from itertools import pairwise

from torch import Tensor, nn

from diptych.networks.layers import Norm, bias_before, norm_layers


class ClassifierNet(nn.Module):
    """(N, in, H, W) to logits (N, classes); H and W are at least 16 pixels.

    Each of the `depth` stages has two 3x3 convolutions with norm and ReLU, the second with stride 2. The numbers of
    channels are `width` times 1, 2, 4, 8, 8, ...
    """

    def __init__(self, in_channels: int, classes: int, width: int = 32, depth: int = 4, norm: Norm = "batch") -> None:
        super().__init__()
        channels = [in_channels, *stage_channels(width, depth)]
        self.body = nn.Sequential(*(_stage(ins, outs, norm) for ins, outs in pairwise(channels)))
        self.head = nn.Linear(channels[-1], classes)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the output of each stage for images (N, in, H, W), finest first."""
        maps = []
        for stage in self.body:
            x = stage(x)
            maps.append(x)
        return maps

    def features(self, x: Tensor) -> Tensor:
        """Return the features (N, D) before the last layer, of images (N, in, H, W)."""
        return self.body(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def stage_channels(width: int, depth: int) -> list[int]:
    """Return the number of channels after each stage; the last is the dimension D of the features."""
    return [width * min(2**level, 8) for level in range(depth)]


def _stage(in_channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(*_conv(in_channels, out_channels, 1, norm), *_conv(out_channels, out_channels, 2, norm))


def _conv(in_channels: int, out_channels: int, stride: int, norm: Norm) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=bias_before(norm))
    return [conv, *norm_layers(norm, out_channels), nn.ReLU()]
