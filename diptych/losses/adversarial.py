"""Adversarial losses on logits, by name, the gradient penalty, and R1.

    vanilla   Goodfellow et al. 2014, non-saturating for the generator: binary cross entropy
    lsgan     Mao et al. 2017: squared distance to 1 (real) or 0 (fake)
    hinge     Lim and Ye 2017: relu(1 - real) + relu(1 + fake)
    wgan-gp   Gulrajani et al. 2017: difference of means, with `gradient_penalty` beside it

Each is a mean over all logits, and so over the patches of a PatchGAN.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Adversarial = Literal["vanilla", "lsgan", "hinge", "wgan-gp"]


def bce(logits: Tensor, real: bool) -> Tensor:
    logits = to_float32(logits)
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def lsgan(logits: Tensor, real: bool) -> Tensor:
    return (to_float32(logits) - float(real)).square().mean()


def hinge(logits: Tensor, real: bool) -> Tensor:
    logits = to_float32(logits)
    return F.relu(1 - logits if real else 1 + logits).mean()


def wasserstein(logits: Tensor, real: bool) -> Tensor:
    return -to_float32(logits).mean() if real else to_float32(logits).mean()


def to_float32(logits: Tensor) -> Tensor:
    """Under autocast a network ends in half precision; losses are sums of many small numbers, and need more."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def sum_of(terms: Sequence[Tensor]) -> Tensor:
    """One term out of those of several scales or images."""
    return torch.stack(list(terms)).sum()


CRITIC = {"vanilla": bce, "lsgan": lsgan, "hinge": hinge, "wgan-gp": wasserstein}
MAKER = {"vanilla": bce, "lsgan": lsgan, "hinge": wasserstein, "wgan-gp": wasserstein}


def discriminator_loss(kind: Adversarial, logits: Tensor, real: bool) -> Tensor:
    """What the discriminator minimises on logits of real or of generated images."""
    return CRITIC[kind](logits, real)


def generator_loss(kind: Adversarial, logits: Tensor) -> Tensor:
    """What the generator minimises on the logits of its images."""
    return MAKER[kind](logits, True)


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, patches: Literal["mean", "sum"] = "mean"
) -> Tensor:
    """Mean (|gradient| - 1)^2 on random lines between real and fake (Gulrajani et al. 2017, equation 3). Unweighted.

    The score of an image is the mean of its patches, or their sum. Runs in float32 at least, and plainly where the
    critic is compiled: that loses second derivatives. Raises RuntimeError if the penalty carries no gradient to the
    critic's weights.
    """
    # a rehearsal on tensors without content has no precision to leave, and autocast does not know its device
    exact = nullcontext() if real.is_meta else torch.autocast(real.device.type, enabled=False)
    with exact, torch.compiler.set_stance("force_eager"):
        real, fake = to_float32(real.detach()), to_float32(fake.detach())
        mix = torch.rand(len(real), 1, 1, 1, dtype=real.dtype, device=real.device)
        between = torch.lerp(real, fake, mix).requires_grad_()
        scores = critic(between).flatten(1)
        score = scores.sum() if patches == "sum" else scores.mean(1).sum()
        (gradient,) = torch.autograd.grad(score, between, create_graph=True)
        penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    if not penalty.requires_grad:
        raise RuntimeError("the gradient penalty carries no gradient to the critic: its weights are frozen")
    return penalty


def r1(
    critic: Callable[[Tensor], Tensor], real: Tensor, score: Callable[[Tensor], Tensor] = lambda logits: logits
) -> tuple[Tensor, Tensor]:
    """The critic's logits of real images, and half the mean squared length of their gradient by the image.

    Mescheder et al. 2018, equation 9; unweighted. `score` picks from the logits those whose gradient counts. One pass
    gives both, in float32 at least, and plainly where the critic is compiled, as in `gradient_penalty`. The images are
    left as they are. Raises RuntimeError if the penalty carries no gradient to the critic's weights.
    """
    exact = nullcontext() if real.is_meta else torch.autocast(real.device.type, enabled=False)
    with exact, torch.compiler.set_stance("force_eager"):
        real = to_float32(real.detach()).requires_grad_()
        logits = critic(real)
        (gradient,) = torch.autograd.grad(score(logits).sum(), real, create_graph=True)
        penalty = gradient.flatten(1).square().sum(1).mean() / 2
    if not penalty.requires_grad:
        raise RuntimeError("R1 carries no gradient to the critic: its weights are frozen")
    return logits, penalty
