"""Losses between images, and on images alone.

total_variation   how much neighbouring pixels differ (Mahendran and Vedaldi 2015; Taigman et al. 2017)
feature_distance  squared distance of what a trained network sees (Johnson et al. 2016; Ledig et al. 2017)
mode_seeking      how little images differ, for how much their noise does (Mao et al. 2019)
"""

import torch.nn.functional as F
from torch import Tensor

from diptych.losses.adversarial import to_float32

FLAT = 1e-12  # added under a root, which has no slope where two pixels are equal


def total_variation(x: Tensor, power: float = 2.0) -> Tensor:
    """Of (N, C, H, W) the sum over pixels of (right difference^2 + lower difference^2)^(power / 2), mean over N.

    The last row and column have no such neighbours, and are left out.
    """
    x = to_float32(x)
    here = x[..., :-1, :-1]
    squares = (x[..., :-1, 1:] - here).square() + (x[..., 1:, :-1] - here).square()
    if power != 2:
        squares = (squares + FLAT) ** (power / 2)
    return squares.sum() / len(x)


def feature_distance(one: Tensor, other: Tensor, rescale: float = 1.0) -> Tensor:
    """Mean squared difference of two maps (N, C, H, W) that are multiplied by `rescale` first."""
    return F.mse_loss(to_float32(one) * rescale, to_float32(other) * rescale)


def mode_seeking(images: tuple[Tensor, Tensor], noise: tuple[Tensor, Tensor], clamp: float = 1e-5) -> Tensor:
    """1 / (mean |images[0] - images[1]| / mean |noise[0] - noise[1]| + clamp), for one source under two noises.

    Means are over the whole batch, as published (the paper writes the ratio, to be maximised), so the term depends on
    the size of a batch. It is `1 / clamp` at most, where the images are the same.
    """
    apart, drawn = ((to_float32(one) - to_float32(other)).abs().mean() for one, other in (images, noise))
    return 1 / (apart / drawn + clamp)
