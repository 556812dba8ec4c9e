"""Latent codes: random in a training step, or a function of seed and number, to generate an image again.

`numbered_codes` and `code_of_controls` need no torch: networks in ONNX files take the same codes as arrays.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from diptych.errors import ConfigError
from diptych.seeds import random_state

if TYPE_CHECKING:
    from torch import Tensor

Prior = Literal["uniform", "normal"]
Code = TypeVar("Code", "Tensor", np.ndarray)
_constant = ContextVar("constant latent codes", default=False)


@contextmanager
def constant_latents() -> Iterator[None]:
    """Set every latent code to 1 in this context, so that the samples of a batch do not depend on their order."""
    token = _constant.set(True)
    try:
        yield
    finally:
        _constant.reset(token)


def sample_latents(prior: Prior, count: int, dim: int, like: "Tensor") -> "Tensor":
    """Return random latent codes (count, dim) with dtype and device of `like`, uniform in [-1, 1] or normal."""
    import torch

    codes = torch.empty(count, dim, dtype=like.dtype, device=like.device)
    if _constant.get():
        return codes.fill_(1)
    return codes.uniform_(-1, 1) if prior == "uniform" else codes.normal_()


def latent_codes(prior: Prior, numbers: range, dim: int, seed: int) -> "Tensor":
    """Return the latent codes (N, dim) of these numbers and this seed, in float32."""
    import torch

    if _constant.get():
        return torch.ones(len(numbers), dim)
    return torch.from_numpy(numbered_codes(prior, numbers, dim, seed))


def numbered_codes(prior: Prior, numbers: range, dim: int, seed: int) -> np.ndarray:
    """Return the latent codes (N, dim) of these numbers and this seed, as a float32 array."""
    states = [random_state("code", seed, number) for number in numbers]
    codes = [state.uniform(-1, 1, dim) if prior == "uniform" else state.standard_normal(dim) for state in states]
    return np.stack(codes).astype(np.float32)


def code_of_controls(controls: Mapping[str, Any], code: Callable[[int, Any], Code]) -> Code:
    """Return the code of the controls `seed` and `reference`, interpolated by `mix` to a second one.

    `code` returns the code of a seed, or of reference images. The second is that of `toward`, a seed, or of the images
    `toward_reference`. ConfigError if `mix` is not within 0 and 1, or if there is no second code.
    """
    toward, images, mix = controls.get("toward", -1), controls.get("toward_reference"), controls.get("mix", 0.0)
    has_second = toward >= 0 or images is not None
    if not 0 <= mix <= 1 or (mix and not has_second):
        raise ConfigError(f"mix={mix}: mix must be between 0 and 1, and needs toward=SEED or toward_reference=IMAGE")
    first = code(controls.get("seed", 0), controls.get("reference"))
    return lerp(first, code(toward, images), mix) if mix else first


def lerp(first: Code, second: Code, weight: float) -> Code:
    """Return the interpolation of two codes as `torch.lerp` computes it: exact for weights 0 and 1."""
    if weight < 0.5:
        return first + weight * (second - first)
    return second - (1 - weight) * (second - first)


def latent_for_seed(prior: Prior, dim: int, seed: int, given: "Tensor | None", x: "Tensor") -> "Tensor":
    """Return latent codes (N, dim) for images x (N, ...): `given`, of length 1 or N, or else the code of the seed.

    Raises ConfigError if the number of given codes is neither 1 nor the number of images.
    """
    codes = latent_codes(prior, range(seed, seed + 1), dim, 0).to(x) if given is None else given
    if len(codes) not in (1, len(x)):
        raise ConfigError(f"got {len(codes)} references for {len(x)} images: give one, or one for each image")
    return codes.expand(len(x), -1)
