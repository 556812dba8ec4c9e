"""Parts that all networks share: norms, the bias rule, weight initialisation, evaluation modes, padding."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from diptych.errors import nearest
from diptych.networks.upsampling import SubpixelConv

Norm = Literal["batch", "instance", "none"]
Init = Literal["normal", "xavier", "kaiming", "orthogonal"]
SMALLEST = 16  # height and width in pixels of the smallest images that the networks can downsample and normalise


def norm_layers(norm: Norm, channels: int) -> list[nn.Module]:
    """Return the norm as a list of layers for a Sequential. InstanceNorm has no affine weights and no statistics.

    Raises ValueError for another name.
    """
    if norm not in get_args(Norm):
        raise ValueError(f"norm={norm!r}: expected {', '.join(get_args(Norm))}{nearest(str(norm), get_args(Norm))}")
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    return [nn.InstanceNorm2d(channels)] if norm == "instance" else []


def bias_before(norm: Norm) -> bool:
    """Return whether a convolution right before `norm` has a bias.

    A norm removes it: its gradient is 0 up to rounding errors, which Adam would scale up to full steps.
    """
    return norm == "none"


def bias_alone(norm: Norm) -> bool:
    """Return whether a convolution that no norm follows has a bias in a network with `norm`; not with BatchNorm."""
    return norm != "batch"


def next_to(x: Tensor, code: Tensor) -> Tensor:
    """Return images (N, C, H, W) with a code (N, K) concatenated as constant planes: (N, C + K, H, W)."""
    return torch.cat([x, code[:, :, None, None].expand(-1, -1, *x.shape[2:]).to(x.dtype)], 1)


def initialise(net: nn.Module, init: Init = "normal", gain: float = 0.02) -> None:
    """Initialise the weights of convolutions, linear layers and embeddings; biases are 0, BatchNorm scales N(1, gain).

    `gain` is the standard deviation of "normal" and the gain of "xavier" and "orthogonal".
    """
    if any(weight.is_meta for weight in net.parameters()):  # no values; random functions are slow there
        return
    for module in _initialised_modules(net):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if isinstance(module, SubpixelConv):
                _fill_equally(module.weight, init, gain)
            else:
                _fill(module.weight, init, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            _fill(module.weight, init, gain)
        elif isinstance(module, _BatchNorm) and module.affine:
            nn.init.normal_(module.weight, 1.0, gain)
            nn.init.zeros_(module.bias)


def _initialised_modules(net: nn.Module) -> Iterator[nn.Module]:
    """Yield modules in the order of `net.modules()`, without those in a module with `keep_init`."""
    kept = [module for module in net.modules() if getattr(module, "keep_init", False)]
    left_out = {id(module) for parent in kept for module in parent.modules()}
    return (module for module in net.modules() if id(module) not in left_out)


def _fill(weight: Tensor, init: Init, gain: float) -> None:
    if init == "normal":
        nn.init.normal_(weight, 0.0, gain)
    elif init == "xavier":
        nn.init.xavier_normal_(weight, gain=gain)
    elif init == "kaiming":
        nn.init.kaiming_normal_(weight, a=0, mode="fan_in")
    else:
        nn.init.orthogonal_(weight, gain=gain)


@torch.no_grad()
def _fill_equally(weight: Tensor, init: Init, gain: float) -> None:
    """Fill (4 out, in, 3, 3) with four copies of each of `out` kernels, in the order of a pixel shuffle."""
    kernels = torch.empty_like(weight[::4])
    _fill(kernels, init, gain)
    weight.copy_(kernels.repeat_interleave(4, 0))


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Set a network to evaluation mode in this context, and restore the mode of each module afterwards."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def as_in_training(net: nn.Module) -> Iterator[None]:
    """Set a network to training mode in this context, without updates of BatchNorm's running statistics.

    Dropout is on, and BatchNorm uses the statistics of the batch. The modes are restored afterwards.
    """
    norms = [(module, module.track_running_stats) for module in net.modules() if isinstance(module, _BatchNorm)]
    with evaluating(net):
        net.train()
        for module, _ in norms:
            module.track_running_stats = False
        try:
            yield
        finally:
            for module, tracked in norms:
                module.track_running_stats = tracked


@contextmanager
def without_graph() -> Iterator[None]:
    """Disable gradients in this context, as `torch.no_grad`, safely under autocast.

    Before torch 2.15 autocast caches the half-precision copies of weights made under `no_grad`. These have no graph,
    so a later forward pass with gradients would give the weights none. The cache is cleared at the end.
    """
    try:
        with torch.no_grad():
            yield
    finally:
        torch.clear_autocast_cache()


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Return images (..., H, W) padded by reflection to a multiple in height and width, at least SMALLEST.

    The padding is on both sides and may be larger than the image. `remove_padding` undoes it.
    """
    return _pad(_pad(x, -2, multiple), -1, multiple)


def remove_padding(x: Tensor, height: int, width: int, scale: int = 1) -> Tensor:
    """Return the part of images (..., H, W) that was `height` x `width` before `pad_to_multiple`.

    `scale` is how many times as large the images are as those that were padded.
    """
    top, left = ((x.shape[dim] // scale - size) // 2 * scale for dim, size in ((-2, height), (-1, width)))
    return x[..., top : top + scale * height, left : left + scale * width]


def _pad(x: Tensor, dim: int, multiple: int) -> Tensor:
    length = x.shape[dim]
    missing = max(-length % multiple, -(-SMALLEST // multiple) * multiple - length)
    if not missing:
        return x
    index = torch.arange(-(missing // 2), length + missing - missing // 2)
    period = max(1, 2 * (length - 1))
    index = index.remainder(period)
    return x.index_select(dim, torch.where(index < length, index, period - index).to(x.device))
