"""Noise: what a step draws, and codes that are a function of their place, so that a person finds one again."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from diptych.errors import ConfigError
from diptych.seeds import random_state

Prior = Literal["uniform", "normal", "fixed"]


def sample_latents(prior: Prior, count: int, size: int, like: Tensor) -> Tensor:
    """Codes (count, size) of the step at hand, in the kind of number of `like`: uniform in -1..1, normal, or all 1."""
    code = torch.empty(count, size, dtype=like.dtype, device=like.device)
    if prior == "fixed":
        return code.fill_(1)
    return code.uniform_(-1, 1) if prior == "uniform" else code.normal_()


def latent_codes(prior: Prior, numbers: range, size: int, seed: int) -> Tensor:
    """Codes (N, size) in float32: those of these numbers, of a seed."""
    if prior == "fixed":
        return torch.ones(len(numbers), size)
    rows = [random_state("code", seed, number) for number in numbers]
    drawn = [row.uniform(-1, 1, size) if prior == "uniform" else row.standard_normal(size) for row in rows]
    return torch.from_numpy(np.stack(drawn).astype(np.float32))


def latent_for_seed(prior: Prior, size: int, seed: int, given: Tensor | None, x: Tensor) -> Tensor:
    """Codes (N, size) for images x: those `given`, one for all or one for each, or else that of a seed. ConfigError."""
    found = latent_codes(prior, range(seed, seed + 1), size, 0).to(x) if given is None else given
    if len(found) not in (1, len(x)):
        raise ConfigError(f"{len(found)} references for {len(x)} images: give one, or one for each")
    return found.expand(len(x), -1)
