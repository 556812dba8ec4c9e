"""Pictures for networks that look."""

import torch
import torch.nn.functional as F


def pictures(count=2, height=40, width=72, seed=0):
    """Smooth ones with noise on top, so that ways to resize differ: uint8 (N, 3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 7, generator=generator) * 255
    smooth = F.interpolate(coarse, (height, width), mode="bicubic")
    return (smooth + 20 * torch.randn(smooth.shape, generator=generator)).clamp(0, 255).to(torch.uint8)
