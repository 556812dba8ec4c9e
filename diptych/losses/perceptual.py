"""Losses on images, on feature maps, and on pairs of outputs.

total_variation         sum of differences between neighbouring pixels (Mahendran and Vedaldi 2015; Taigman et al. 2017)
mean_total_variation    mean squared difference between neighbouring pixels (public code of SRGAN)
feature_distance        MSE between feature maps of a pretrained network (Johnson et al. 2016; Ledig et al. 2017)
mode_seeking            inverse ratio of the distance of two outputs to the distance of their codes (Mao et al. 2019)
"""

import torch.nn.functional as F
from torch import Tensor

from diptych.losses.adversarial import to_float32

EPS = 1e-12  # added under a root, whose derivative at 0 is infinite


def total_variation(x: Tensor, power: float = 2.0) -> Tensor:
    """Return the total variation of images (N, C, H, W), the mean over N.

    It is the sum over pixels of (difference to the right^2 + difference to below^2)^(power / 2), without the last row
    and column.
    """
    x = to_float32(x)
    pixels = x[..., :-1, :-1]
    squares = (x[..., :-1, 1:] - pixels).square() + (x[..., 1:, :-1] - pixels).square()
    if power != 2:
        squares = (squares + EPS) ** (power / 2)
    return squares.sum() / len(x)


def mean_total_variation(x: Tensor) -> Tensor:
    """Return twice the sum of the mean squared differences between vertical and between horizontal neighbours.

    The images are (N, C, H, W); the value does not depend on their size.
    """
    x = to_float32(x)
    return 2 * (F.mse_loss(x[..., 1:, :], x[..., :-1, :]) + F.mse_loss(x[..., 1:], x[..., :-1]))


def feature_distance(first: Tensor, second: Tensor, rescale: float = 1.0) -> Tensor:
    """Return the MSE between two feature maps (N, C, H, W), both first multiplied by `rescale`."""
    return F.mse_loss(to_float32(first) * rescale, to_float32(second) * rescale)


def mode_seeking(images: tuple[Tensor, Tensor], noise: tuple[Tensor, Tensor], eps: float = 1e-5) -> Tensor:
    """Return 1 / (mean |images[0] - images[1]| / mean |noise[0] - noise[1]| + eps), two outputs for one source.

    Means are over the whole batch, as in the public code, so the term depends on the batch size. The paper writes the
    ratio itself, to be maximised. The largest value is `1 / eps`, for equal images.
    """
    image_distance = _l1(*images)
    noise_distance = _l1(*noise)
    return 1 / (image_distance / noise_distance + eps)


def _l1(first: Tensor, second: Tensor) -> Tensor:
    return (to_float32(first) - to_float32(second)).abs().mean()
