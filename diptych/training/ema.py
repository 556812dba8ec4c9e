"""Exponential moving averages of weights, of the networks named in `Method.ema` with decay `Method.ema_decay`."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from diptych.contract import Method


class EMA:
    """Copies of a method's networks that follow their weights after each step."""

    def __init__(self, method: Method) -> None:
        self.decay = method.ema_decay
        self.copies = nn.ModuleDict({name: copy.deepcopy(method.get_submodule(name)) for name in method.ema})
        self.copies.requires_grad_(False)

    @torch.no_grad()
    def update(self, method: Method) -> None:
        """Move averaged weights towards the present ones by 1 - decay.

        Running statistics are averaged too, because those of the trained network do not fit averaged weights.
        """
        for name, average in self.copies.items():
            live = method.get_submodule(name)
            torch._foreach_lerp_(list(average.parameters()), list(live.parameters()), 1 - self.decay)
            for averaged, present in zip(average.buffers(), live.buffers(), strict=True):
                if averaged.is_floating_point():
                    averaged.lerp_(present, 1 - self.decay)
                else:
                    averaged.copy_(present)

    @contextmanager
    def applied_to(self, method: Method) -> Iterator[None]:
        """Let the method use the averaged networks inside the `with` block."""
        live = {name: method.get_submodule(name) for name in self.copies}
        for name, net in self.copies.items():
            method.set_submodule(name, net)
        try:
            yield
        finally:
            for name, net in live.items():
                method.set_submodule(name, net)

    def state(self) -> dict[str, Tensor]:
        """Return the averaged weights and statistics."""
        return self.copies.state_dict()

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore a state. RuntimeError if it is of other networks."""
        self.copies.load_state_dict(state)
