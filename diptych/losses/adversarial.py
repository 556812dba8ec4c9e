"""Adversarial losses on logits, by name; the gradient penalty of WGAN-GP; the R1 penalty.

    vanilla   Goodfellow et al. 2014, non-saturating for the generator: binary cross-entropy
    lsgan     Mao et al. 2017: squared distance to 1 (real) or 0 (fake)
    hinge     Lim and Ye 2017: relu(1 - real) + relu(1 + fake)
    wgan-gp   Gulrajani et al. 2017: difference of means; the method adds `gradient_penalty`

Each loss is the mean over all logits, and thus over the patches of a PatchGAN.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

GANLoss = Literal["vanilla", "lsgan", "hinge", "wgan-gp"]


def bce(logits: Tensor, real: bool) -> Tensor:
    """Return the binary cross-entropy of logits of any shape with the label 1 (`real`) or 0."""
    logits = to_float32(logits)
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def lsgan(logits: Tensor, real: bool) -> Tensor:
    """Return the MSE between outputs of any shape and the label 1 (`real`) or 0."""
    return (to_float32(logits) - float(real)).square().mean()


def hinge(logits: Tensor, real: bool) -> Tensor:
    """Return the discriminator's hinge loss on the logits of real or of generated images."""
    logits = to_float32(logits)
    return F.relu(1 - logits if real else 1 + logits).mean()


def wasserstein(logits: Tensor, real: bool) -> Tensor:
    """Return the mean of the logits, negated for real images."""
    return -to_float32(logits).mean() if real else to_float32(logits).mean()


def to_float32(logits: Tensor) -> Tensor:
    """Return half-precision tensors in float32, others unchanged.

    Under autocast the outputs of networks are in half precision, which is too coarse to sum many small numbers.
    """
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def sum_terms(terms: Sequence[Tensor]) -> Tensor:
    """Return the sum of scalar loss terms, such as those of several scales, as one term."""
    return torch.stack(list(terms)).sum()


_DISCRIMINATOR_LOSSES = {"vanilla": bce, "lsgan": lsgan, "hinge": hinge, "wgan-gp": wasserstein}
_GENERATOR_LOSSES = {"vanilla": bce, "lsgan": lsgan, "hinge": wasserstein, "wgan-gp": wasserstein}


def discriminator_loss(kind: GANLoss, logits: Tensor, real: bool) -> Tensor:
    """Return the discriminator's loss on the logits of real or of generated images."""
    return _DISCRIMINATOR_LOSSES[kind](logits, real)


def generator_loss(kind: GANLoss, logits: Tensor) -> Tensor:
    """Return the generator's loss on the discriminator's logits of generated images."""
    return _GENERATOR_LOSSES[kind](logits, True)


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    patches: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Return the mean of (|gradient| - 1)^2 at random interpolations (Gulrajani et al. 2017, equation 3), unweighted.

    Images are (N, C, H, W). The score of an image is the mean or the sum of its logits, by `patches`. Computed in
    float32 or float64, and without `torch.compile`, which does not support second derivatives. Raises RuntimeError if
    the penalty has no gradient with respect to the discriminator's weights.
    """
    with _second_derivatives(real):
        real, fake = to_float32(real.detach()), to_float32(fake.detach())
        weight = torch.rand(len(real), 1, 1, 1, dtype=real.dtype, device=real.device)
        interpolated = torch.lerp(real, fake, weight).requires_grad_()
        logits = discriminator(interpolated).flatten(1)
        score = logits.sum() if patches == "sum" else logits.mean(1).sum()
        (gradient,) = torch.autograd.grad(score, interpolated, create_graph=True)
        penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    if not penalty.requires_grad:
        raise RuntimeError("the gradient penalty carries no gradient to the discriminator: its weights are frozen")
    return penalty


def r1(
    discriminator: Callable[[Tensor], Tensor],
    real: Tensor,
    score: Callable[[Tensor], Tensor] = lambda logits: logits,
) -> tuple[Tensor, Tensor]:
    """Return the logits of real images and the R1 penalty, half the mean squared norm of their gradient.

    Mescheder et al. 2018, equation 9, unweighted. `score` selects the logits whose gradient is penalised. One forward
    pass computes both. Precision and compilation are as in `gradient_penalty`. The images themselves get no gradient.
    Raises RuntimeError if the penalty has no gradient with respect to the discriminator's weights.
    """
    with _second_derivatives(real):
        real = to_float32(real.detach()).requires_grad_()
        logits = discriminator(real)
        (gradient,) = torch.autograd.grad(score(logits).sum(), real, create_graph=True)
        penalty = gradient.flatten(1).square().sum(1).mean() / 2
    if not penalty.requires_grad:
        raise RuntimeError("R1 carries no gradient to the discriminator: its weights are frozen")
    return logits, penalty


@contextmanager
def _second_derivatives(images: Tensor) -> Iterator[None]:
    """Turn off autocast and compilation. Autocast does not support the meta device of a dry run."""
    full_precision = nullcontext() if images.is_meta else torch.autocast(images.device.type, enabled=False)
    with full_precision, torch.compiler.set_stance("force_eager"):
        yield
