"""Losses of pairs in which some pixels have no data (`contract.VALID`)."""

import torch
from torch import Tensor


def keep_valid(fake: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
    """Return generated images (N, C, H, W) with the target where `valid` (N, 1, H, W) is 0; None: all are valid.

    A discriminator sees no difference there, the L1 distance is 0, and no gradient comes from there. Images with few
    valid pixels count less.
    """
    return fake if valid is None else torch.where(valid > 0, fake, target)
