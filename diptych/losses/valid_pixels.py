"""Losses of pairs in which some pixels have no data (`contract.VALID`)."""

import torch
from torch import Tensor

from diptych.losses.adversarial import to_float32


def keep_valid(fake: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
    """Return generated images (N, C, H, W) with the target where `valid` (N, 1, H, W) is 0; None: all are valid.

    A discriminator sees no difference there, and no gradient comes from there.
    """
    return fake if valid is None else torch.where(valid > 0, fake, target)


def l1_of_valid(fake: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
    """Return the L1 distance of images (N, C, H, W), the mean over the valid pixels of each, then over N.

    An image without valid pixels counts as 0.
    """
    if valid is None:
        return torch.nn.functional.l1_loss(fake, target)
    distance = (to_float32(fake) - to_float32(target)).abs().mean(1, keepdim=True) * valid
    return (distance.sum((1, 2, 3)) / valid.sum((1, 2, 3)).clamp(min=1)).mean()
