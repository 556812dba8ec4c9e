"""The networks of DIAT (Li et al. 2016, section 3)."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from diptych.networks.layers import Norm
from diptych.networks.resnet import ResNet
from diptych.networks.srresnet import downsample_bicubic
from diptych.networks.upsampling import Upsample


class Enhancer(nn.Module):
    """The output of T plus a residual, which is 0 at first."""

    def __init__(self, channels: int, width: int, blocks: int, norm: Norm, upsample: Upsample) -> None:
        super().__init__()
        self.change = ResNet(channels, channels, width, blocks, norm, upsample=upsample)

    def zero_last_layer(self) -> None:
        """Initialise the residual to 0."""
        *_, last = (layer for layer in self.change.head if isinstance(layer, nn.Conv2d))
        nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.change(x)


class Discriminator(nn.Module):
    """Images (N, C, size, size) to logits, and the feature maps after each convolution, finest first. No norm."""

    def __init__(self, channels: int, size: int, width: int, max_channels: int, depth: int, head: str) -> None:
        super().__init__()
        widths = [channels, *(min(width << level, max_channels) for level in range(depth))]
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)) for before, after in pairwise(widths)
        )
        dense = head == "dense"
        self.head = nn.Conv2d(widths[-1], 1, size >> depth) if dense else nn.Conv2d(widths[-1], 1, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = [x := layer(x) for layer in self.body]
        return self.head(x), maps


class Denoiser(nn.Sequential):
    """The network N of L_smooth: two 3x3 convolutions."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(nn.Conv2d(channels, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, channels, 3, 1, 1))


def blur_bicubic(x: Tensor) -> Tensor:
    """Return images downsampled by 2 and upsampled again (bicubic): the input of global enhancement."""
    return F.interpolate(downsample_bicubic(x, 2), x.shape[-2:], mode="bicubic", align_corners=False).clamp(-1, 1)
