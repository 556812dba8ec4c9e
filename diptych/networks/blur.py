"""Halving and doubling by filters, so that a shift of the image is a shift of what is made of it (Zhang 2019)."""

import torch.nn.functional as F
from torch import Tensor, nn


class BlurDownsample(nn.Module):
    """(N, C, H, W) to half of H and W: [1, 2, 1] / 4 both ways with reflection, as two means; then every second."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 2, 1), 2, 2)


class BlurUpsample(nn.Module):
    """(N, C, H, W) to twice H and W: [1, 3, 3, 1] / 4 both ways between zeros, which is what is called bilinear."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
