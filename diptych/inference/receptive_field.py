"""How far the networks of a method see: the pixels around a tile that its translation depends on."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from diptych.contract import Method
from diptych.errors import ConfigError
from diptych.networks.layers import SMALLEST
from diptych.networks.normalisation_statistics import neutral_statistics

LARGEST = 8192  # pixels; a larger reach is taken as the entire image


def reach(method: Method, channels: int, controls: Mapping[str, Any]) -> int:
    """Return how many pixels to either side an output sees, for images of `channels`; statistics of norms apart.

    Outputs at least this many pixels inside an edge do not depend on the pixels outside of it, if the edge lies at a
    multiple of `traits.size_multiple`. It is found by NaN values outside of an edge: no operation of a network removes
    them. Raises ConfigError if outputs depend on the entire image.
    """
    if method.traits.fixed_size:
        raise ConfigError(
            f"{type(method).__name__} resizes images to {method.image_size()} pixels, so a large image has no tiles: "
            f"translate it without --tile"
        )
    multiple = method.traits.size_multiple
    inside = max(4 * multiple, 4 * SMALLEST)
    found = None
    while found is None:
        if inside > 2 * LARGEST:
            raise ConfigError(
                f"{type(method).__name__}: an output pixel depends on the entire image, not only through norms, so "
                f"it has no tiles: translate the image without --tile"
            )
        sides = [_damaged(method, channels, controls, inside, dim) for dim in (2, 3)]
        found = None if None in sides else max(side for side in sides if side is not None)
        inside *= 2
    return -(-found // method.traits.upscale_factor)


def on_device(controls: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Return controls with tensors on a device."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in controls.items()}


@torch.no_grad()
def _damaged(method: Method, channels: int, controls: Mapping[str, Any], inside: int, dim: int) -> int | None:
    """Return the larger number of outputs that are NaN inside of one of two edges; None if those of both meet.

    There are `inside` pixels between the edges along this dimension, and NaN beyond.
    """
    multiple, scale = method.traits.size_multiple, method.traits.upscale_factor
    margin = -(-SMALLEST // multiple) * multiple
    shape = [1, channels, margin, margin]
    shape[dim] = inside + 2 * margin
    x = torch.full(shape, torch.nan, device=next(method.parameters()).device)
    x.narrow(dim, margin, inside).zero_()
    with neutral_statistics():
        y = method.translate(x, **on_device(controls, x.device))
    is_nan = y.narrow(dim, scale * margin, scale * inside).isnan().transpose(dim, 0).flatten(1).any(1)
    clean = (~is_nan).nonzero().flatten()
    if not len(clean):
        return None
    return max(int(clean[0]), len(is_nan) - 1 - int(clean[-1]))
