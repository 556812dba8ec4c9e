"""Losses whose gradient is taken before a step and descended after it."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def deferred(terms: dict[str, Tensor], parameters: Iterable[nn.Parameter]) -> dict[str, Tensor]:
    """The same values, whose gradient by `parameters` is the one at their weights of now, whenever it is asked for.

    What the terms were computed from may change, and its graph may go, in between; it is kept for losses that share
    it. Raises RuntimeError if none of the terms reaches any of the parameters.
    """
    found = list(parameters)
    total = torch.stack([term.reshape(()) for term in terms.values()]).sum()
    gradients = torch.autograd.grad(total, found, retain_graph=True, allow_unused=True)
    reached = [(p, g.detach()) for p, g in zip(found, gradients, strict=True) if g is not None]
    if not reached:
        raise RuntimeError(f"the terms {', '.join(terms)} reach none of the weights they should move")
    values = {name: term.detach() for name, term in terms.items()}
    line = torch.stack([(p * g).sum() for p, g in reached]).sum()  # its gradient is theirs
    first = next(iter(values))
    return values | {first: values[first] + (line - line.detach())}
