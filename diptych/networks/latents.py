"""Latent codes: random in a training step, or a function of seed and number, to generate an image again."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from diptych.errors import ConfigError
from diptych.seeds import random_state

Prior = Literal["uniform", "normal"]
_constant = ContextVar("constant latent codes", default=False)


@contextmanager
def constant_latents() -> Iterator[None]:
    """Set every latent code to 1 in this context, so that the samples of a batch do not depend on their order."""
    token = _constant.set(True)
    try:
        yield
    finally:
        _constant.reset(token)


def sample_latents(prior: Prior, count: int, dim: int, like: Tensor) -> Tensor:
    """Return random latent codes (count, dim) with dtype and device of `like`, uniform in [-1, 1] or normal."""
    codes = torch.empty(count, dim, dtype=like.dtype, device=like.device)
    if _constant.get():
        return codes.fill_(1)
    return codes.uniform_(-1, 1) if prior == "uniform" else codes.normal_()


def latent_codes(prior: Prior, numbers: range, dim: int, seed: int) -> Tensor:
    """Return the latent codes (N, dim) of these numbers and this seed, in float32."""
    if _constant.get():
        return torch.ones(len(numbers), dim)
    states = [random_state("code", seed, number) for number in numbers]
    codes = [state.uniform(-1, 1, dim) if prior == "uniform" else state.standard_normal(dim) for state in states]
    return torch.from_numpy(np.stack(codes).astype(np.float32))


def code_of_controls(controls: Mapping[str, Any], code: Callable[[int, Tensor | None], Tensor]) -> Tensor:
    """Return the code of the controls `seed` and `reference`, interpolated by `mix` to a second one.

    `code` returns the code of a seed, or of reference images. The second is that of `toward`, a seed, or of the images
    `toward_reference`. ConfigError if `mix` is not within 0 and 1, or if there is no second code.
    """
    toward, images, mix = controls.get("toward", -1), controls.get("toward_reference"), controls.get("mix", 0.0)
    has_second = toward >= 0 or images is not None
    if not 0 <= mix <= 1 or (mix and not has_second):
        raise ConfigError(f"mix={mix}: mix must be between 0 and 1, and needs toward=SEED or toward_reference=IMAGE")
    first = code(controls.get("seed", 0), controls.get("reference"))
    return torch.lerp(first, code(toward, images), mix) if mix else first


def latent_for_seed(prior: Prior, dim: int, seed: int, given: Tensor | None, x: Tensor) -> Tensor:
    """Return latent codes (N, dim) for images x (N, ...): `given`, of length 1 or N, or else the code of the seed.

    Raises ConfigError if the number of given codes is neither 1 nor the number of images.
    """
    codes = latent_codes(prior, range(seed, seed + 1), dim, 0).to(x) if given is None else given
    if len(codes) not in (1, len(x)):
        raise ConfigError(f"got {len(codes)} references for {len(x)} images: give one, or one for each image")
    return codes.expand(len(x), -1)
