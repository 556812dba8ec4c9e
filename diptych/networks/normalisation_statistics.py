"""Statistics of normalisation layers that are pooled over several images and then frozen.

InstanceNorm, LayerNorm over an image, GroupNorm, AdaIN, and BatchNorm in training mode normalise by the mean and the
variance of the image they get. Parts of one image, or frames of one scene, then differ where they should match. Here
all of them are normalised by the same statistics:

    with pooled_statistics() as statistics:  # one pass over a batch of samples
        method.translate(samples)
    with frozen_statistics(statistics):
        y = method.translate(tile)

The functions of torch are replaced inside the context, so that layers of all networks are covered, also of the user's.
A mean, variance or standard deviation over height and width is treated in the same way.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from diptych.errors import ConfigError


class Statistics(NamedTuple):
    """Mean and variance of the input of one layer: (G,) for its G groups of channels, float32 on the CPU."""

    mean: Tensor
    variance: Tensor


class Layer(NamedTuple):
    """One call of a normalisation: its input (N, C, H, W), the number of groups, and how statistics are applied."""

    x: Tensor
    groups: int
    apply: Callable[[Tensor, Tensor], Tensor]  # mean and variance (G,) to the output


def _all(x: Tensor) -> list[Tensor]:
    return [x]


@contextmanager
def pooled_statistics(parts: Callable[[Tensor], Iterable[Tensor]] = _all) -> Iterator[list[Statistics]]:
    """Normalise by statistics over all images of the batch in this context, and yield the list they are added to.

    There is one entry for each call of a normalisation, in the order of the calls. Run one forward pass. `parts`
    returns the parts (n, C, h, w) of the input (N, C, H, W) of a layer that count; by default all of it.
    """
    found: list[Statistics] = []

    def pooled(layer: Layer) -> Statistics:
        moments = Moments()
        for part in parts(layer.x):
            moments.add(part, layer.groups)
        found.append(moments.statistics())
        return found[-1]

    with _Replaced(pooled):
        yield found


@contextmanager
def frozen_statistics(statistics: Sequence[Statistics]) -> Iterator[None]:
    """Normalise by given statistics in this context. Run one forward pass.

    The result for a pixel does not depend on the height, width and batch size. Raises ConfigError if the statistics are
    those of other layers.
    """
    replaced = _Replaced(_from(statistics))
    with replaced:
        yield
    if replaced.count != len(statistics):
        raise ConfigError(f"{_mismatch(len(statistics))} has {replaced.count}: {REMEDY}")


@contextmanager
def neutral_statistics() -> Iterator[None]:
    """Normalise by mean 0 and variance 1 in this context: for questions about a network that no statistics affect."""
    with _Replaced(lambda layer: Statistics(torch.zeros(layer.groups), torch.ones(layer.groups))):
        yield


def layer_moments(
    forward: Callable[[], object], statistics: Sequence[Statistics], part: Callable[[Tensor], Tensor]
) -> "Moments | None":
    """Return the moments of the input of the first layer without statistics; None if all layers have some.

    `forward` runs the networks, up to that layer. `part` returns the part of its input (N, C, H, W) to use.
    """
    known = _from(statistics)

    def stop(layer: Layer) -> Statistics:
        if replaced.count == len(statistics):
            raise _Found(Moments().add(part(layer.x), layer.groups))
        return known(layer)

    replaced = _Replaced(stop)
    try:
        with replaced:
            forward()
    except _Found as found:
        return found.moments
    return None


class Moments:
    """Count, mean and variance of each group of channels, over any number of tensors, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.variance = torch.zeros(0, dtype=torch.float64)

    def add(self, x: Tensor, groups: int) -> "Moments":
        """Add tensors (N, C, H, W) and return the moments."""
        grouped = x.detach().reshape(len(x), groups, -1)
        variance, mean = torch.var_mean(grouped, (0, 2), correction=0)
        other = Moments()
        other.count = x.numel() // groups
        other.mean, other.variance = mean.double().cpu(), variance.double().cpu()
        return self.merge(other)

    def merge(self, other: "Moments") -> "Moments":
        """Add the values of other moments and return these."""
        if not self.count:
            self.count, self.mean, self.variance = other.count, other.mean, other.variance
            return self
        total = self.count + other.count
        share, change = other.count / total, other.mean - self.mean
        self.variance = self.variance + share * (other.variance - self.variance + (1 - share) * change**2)
        self.mean = self.mean + share * change
        self.count = total
        return self

    def statistics(self) -> Statistics:
        return Statistics(self.mean.float(), self.variance.float())


REMEDY = "take the statistics with the same model and controls"


def _mismatch(count: int) -> str:
    return f"the statistics are those of {count} normalisation layers, and the model"


def _from(statistics: Sequence[Statistics]) -> Callable[[Layer], Statistics]:
    """Return a function that returns the given statistics, one after the other."""
    remaining = iter(statistics)

    def known(layer: Layer) -> Statistics:
        found = next(remaining, None)
        if found is None:
            raise ConfigError(f"{_mismatch(len(statistics))} has more: {REMEDY}")
        if len(found.mean) != layer.groups:
            raise ConfigError(f"a layer has statistics of {len(found.mean)} channels, not {layer.groups}: {REMEDY}")
        return found

    return known


class _Found(Exception):
    """Ends a forward pass."""

    def __init__(self, moments: Moments) -> None:
        super().__init__("the moments of a layer")
        self.moments = moments


class _Replaced(TorchFunctionMode):
    """Replaces normalisations over an image; `statistics_of` returns the statistics to use for each."""

    def __init__(self, statistics_of: Callable[[Layer], Statistics]) -> None:
        super().__init__()
        self.statistics_of, self.count = statistics_of, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.dropout and _dropout_is_random(*args, **kwargs):
            raise ConfigError("dropout is random at each pixel, so parts of an image do not match: choose no dropout")
        layer = LAYERS[func](*args, **kwargs) if func in LAYERS else None
        if layer is None:
            return func(*args, **kwargs)
        mean, variance = self.statistics_of(layer)
        self.count += 1
        return layer.apply(mean.to(layer.x), variance.to(layer.x))


def _dropout_is_random(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> bool:
    return training and p > 0


def _normalisation(x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Layer:
    repeats = x.shape[1] // groups

    def apply(mean: Tensor, variance: Tensor) -> Tensor:
        mean, variance = (value.repeat_interleave(repeats) for value in (mean, variance))
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    return Layer(x, groups, apply)


def _instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Layer | None:
    return _normalisation(input, input.shape[1], weight, bias, eps) if use_input_stats else None


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Layer | None:
    return _normalisation(input, input.shape[1], weight, bias, eps) if training and input.dim() == 4 else None


def _layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Layer | None:
    """Return LayerNorm over (C, H, W); over channels or features it needs no statistics of the image."""
    if input.dim() != 4 or len(normalized_shape) < 3:
        return None
    if weight is not None or bias is not None:
        raise ConfigError("LayerNorm has a weight for each pixel, so its images have one size: they have no parts")
    return _normalisation(input, 1, None, None, eps)


def _group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Layer | None:
    return _normalisation(input, num_groups, weight, bias, eps) if input.dim() == 4 else None


def _reduction(value: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Layer | None]:
    """Return the layer of a reduction over (H, W) or (C, H, W); `value` returns its result of mean and variance."""

    def layer(input: Tensor, dim: Any = None, *args: Any, keepdim: bool = False, **kwargs: Any) -> Layer | None:
        if input.dim() != 4 or not isinstance(dim, Sequence):
            return None
        dims = sorted(index % 4 for index in dim)
        if dims not in ([2, 3], [1, 2, 3]):
            return None
        groups = input.shape[1] if dims == [2, 3] else 1
        keepdim = keepdim or any(argument is True for argument in args)  # mean(dim, keepdim)

        def apply(mean: Tensor, variance: Tensor) -> Tensor:
            reduced = value(mean, variance).view(1, groups, 1, 1).expand(len(input), -1, -1, -1)
            return reduced if keepdim else reduced.reshape([len(input), *([groups] if dims == [2, 3] else [])])

        return Layer(input, groups, apply)

    return layer


def _adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Layer | None:
    sizes = tuple(output_size) if isinstance(output_size, Sequence) else (output_size, output_size)
    return MEAN(input, (2, 3), keepdim=True) if sizes == (1, 1) and input.dim() == 4 else None


MEAN = _reduction(lambda mean, variance: mean)
VARIANCE = _reduction(lambda mean, variance: variance)
DEVIATION = _reduction(lambda mean, variance: variance.sqrt())
LAYERS: dict[Any, Callable[..., Layer | None]] = {
    F.instance_norm: _instance_norm,
    F.batch_norm: _batch_norm,
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.adaptive_avg_pool2d: _adaptive_avg_pool2d,
    Tensor.mean: MEAN,
    torch.mean: MEAN,
    Tensor.var: VARIANCE,
    torch.var: VARIANCE,
    Tensor.std: DEVIATION,
    torch.std: DEVIATION,
}
