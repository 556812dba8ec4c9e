"""Latent codes: sampled in a training step, or a function of seed and number, so that an image can be generated again."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from diptych.errors import ConfigError
from diptych.seeds import random_state

Prior = Literal["uniform", "normal"]
_constant = ContextVar("constant latent codes", default=False)


@contextmanager
def constant_latents() -> Iterator[None]:
    """Within, every latent code is 1 everywhere: samples of a batch no longer depend on their order."""
    token = _constant.set(True)
    try:
        yield
    finally:
        _constant.reset(token)


def sample_latents(prior: Prior, count: int, size: int, like: Tensor) -> Tensor:
    """Return random latent codes (count, size) with dtype and device of `like`, uniform in [-1, 1] or normal."""
    code = torch.empty(count, size, dtype=like.dtype, device=like.device)
    if _constant.get():
        return code.fill_(1)
    return code.uniform_(-1, 1) if prior == "uniform" else code.normal_()


def latent_codes(prior: Prior, numbers: range, size: int, seed: int) -> Tensor:
    """Return the latent codes (N, size) of these numbers and this seed, in float32."""
    if _constant.get():
        return torch.ones(len(numbers), size)
    rows = [random_state("code", seed, number) for number in numbers]
    drawn = [row.uniform(-1, 1, size) if prior == "uniform" else row.standard_normal(size) for row in rows]
    return torch.from_numpy(np.stack(drawn).astype(np.float32))


def latent_for_seed(prior: Prior, size: int, seed: int, given: Tensor | None, x: Tensor) -> Tensor:
    """Return latent codes (N, size) for images x: `given`, one for all or one for each, or the one of the seed.

    Raises ConfigError if as many are given as there are not images.
    """
    found = latent_codes(prior, range(seed, seed + 1), size, 0).to(x) if given is None else given
    if len(found) not in (1, len(x)):
        raise ConfigError(f"{len(found)} references for {len(x)} images: give one, or one for each")
    return found.expand(len(x), -1)
