"""Antialiased downsampling and upsampling: filtered, so that shifting the input shifts the output (Zhang 2019)."""

import torch.nn.functional as F
from torch import Tensor, nn


class BlurDownsample(nn.Module):
    """(N, C, H, W) to (N, C, H / 2, W / 2): the filter [1, 2, 1] / 4 in both directions, stride 2, reflection padding.

    Implemented as two averages over 2x2 pixels, the second with stride 2.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 2, 1), 2, 2)


class BlurUpsample(nn.Module):
    """(N, C, H, W) to (N, C, 2 H, 2 W): zeros inserted, then the filter [1, 3, 3, 1] / 4; this is bilinear."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
