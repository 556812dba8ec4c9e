"""Averaged weights: copies of the networks named in `Method.ema`, that follow them by `Method.ema_decay` a step."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from diptych.contract import Method


class EMA:
    def __init__(self, method: Method) -> None:
        self.decay = method.ema_decay
        self.copies = nn.ModuleDict({name: copy.deepcopy(method.get_submodule(name)) for name in method.ema})
        self.copies.requires_grad_(False)

    @torch.no_grad()
    def update(self, method: Method) -> None:
        """Weights by decay, and running statistics with them: those of the live network are not of averaged weights."""
        for name, net in self.copies.items():
            live = method.get_submodule(name)
            torch._foreach_lerp_(list(net.parameters()), list(live.parameters()), 1 - self.decay)
            for old, new in zip(net.buffers(), live.buffers(), strict=True):
                if old.is_floating_point():
                    old.lerp_(new, 1 - self.decay)
                else:
                    old.copy_(new)

    @contextmanager
    def applied_to(self, method: Method) -> Iterator[None]:
        """Within, the method translates with the averaged weights."""
        live = {name: method.get_submodule(name) for name in self.copies}
        for name, net in self.copies.items():
            method.set_submodule(name, net)
        try:
            yield
        finally:
            for name, net in live.items():
                method.set_submodule(name, net)

    def state(self) -> dict[str, Tensor]:
        return self.copies.state_dict()

    def load(self, state: dict[str, Tensor]) -> None:
        self.copies.load_state_dict(state)
