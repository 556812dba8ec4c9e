"""Losses whose gradient is computed before an optimizer step and applied after it (DRIT)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def deferred(terms: dict[str, Tensor], parameters: Iterable[nn.Parameter]) -> dict[str, Tensor]:
    """Return loss terms with the same values whose gradient with respect to `parameters` is computed now and kept.

    A later backward pass gives this gradient even if the weights have changed since. The graph of `terms` is retained
    for losses that share it. Raises RuntimeError if no term depends on any of the parameters.
    """
    parameters = list(parameters)
    total = torch.stack([term.reshape(()) for term in terms.values()]).sum()
    gradients = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
    pairs = [(p, gradient.detach()) for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None]
    if not pairs:
        raise RuntimeError(f"the terms {', '.join(terms)} have no gradient with respect to the weights they update")
    values = {name: term.detach() for name, term in terms.items()}
    # A linear function of the parameters with the value 0 and the kept gradients. It is added to the first term.
    linear = torch.stack([(p * gradient).sum() for p, gradient in pairs]).sum()
    first = next(iter(values))
    return values | {first: values[first] + (linear - linear.detach())}
