"""Adversarial losses on logits, by name, and the gradient penalty.

    vanilla   Goodfellow et al. 2014, non-saturating for the generator: binary cross entropy
    lsgan     Mao et al. 2017: squared distance to 1 (real) or 0 (fake)
    hinge     Lim and Ye 2017: relu(1 - real) + relu(1 + fake)
    wgan-gp   Gulrajani et al. 2017: difference of means, with `gradient_penalty` beside it

Each is a mean over all logits, and so over the patches of a PatchGAN.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Adversarial = Literal["vanilla", "lsgan", "hinge", "wgan-gp"]


def bce(logits: Tensor, real: bool) -> Tensor:
    logits = precise(logits)
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def lsgan(logits: Tensor, real: bool) -> Tensor:
    return (precise(logits) - float(real)).square().mean()


def hinge(logits: Tensor, real: bool) -> Tensor:
    logits = precise(logits)
    return F.relu(1 - logits if real else 1 + logits).mean()


def wasserstein(logits: Tensor, real: bool) -> Tensor:
    return -precise(logits).mean() if real else precise(logits).mean()


def precise(logits: Tensor) -> Tensor:
    """Under autocast a network ends in half precision; losses are sums of many small numbers, and need more."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


CRITIC = {"vanilla": bce, "lsgan": lsgan, "hinge": hinge, "wgan-gp": wasserstein}
MAKER = {"vanilla": bce, "lsgan": lsgan, "hinge": wasserstein, "wgan-gp": wasserstein}


def critic_loss(kind: Adversarial, logits: Tensor, real: bool) -> Tensor:
    """What the discriminator minimises on logits of real or of generated images."""
    return CRITIC[kind](logits, real)


def maker_loss(kind: Adversarial, logits: Tensor) -> Tensor:
    """What the generator minimises on the logits of its images."""
    return MAKER[kind](logits, True)


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Mean (|gradient| - 1)^2 on random lines between real and fake (Gulrajani et al. 2017, equation 3). Unweighted.

    The score of an image is the mean of its patches. Runs in float32, and plainly where the critic is compiled: that
    loses second derivatives. Raises RuntimeError if the penalty carries no gradient to the critic's weights.
    """
    # a rehearsal on tensors without content has no precision to leave, and autocast does not know its device
    exact = nullcontext() if real.is_meta else torch.autocast(real.device.type, enabled=False)
    with exact, torch.compiler.set_stance("force_eager"):
        mix = torch.rand(len(real), 1, 1, 1, device=real.device)
        between = torch.lerp(real.detach().float(), fake.detach().float(), mix).requires_grad_()
        score = critic(between).flatten(1).mean(1).sum()
        (gradient,) = torch.autograd.grad(score, between, create_graph=True)
        penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    if not penalty.requires_grad:
        raise RuntimeError("the gradient penalty carries no gradient to the critic: its weights are frozen")
    return penalty
