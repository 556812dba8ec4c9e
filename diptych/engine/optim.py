"""One Adam for each player."""

import torch
from torch import Tensor

from diptych.contract import Clock, Player


class Mover:
    """Moves one player: its parameters, Adam, and the schedule of its step size."""

    def __init__(self, player: Player) -> None:
        self.player = player
        self.parameters = player.parameters()
        self.lr = player.lr  # of the last step taken
        self.adam = torch.optim.Adam(
            self.parameters, player.lr, player.betas, weight_decay=player.weight_decay, fused=True
        )

    def move(self, clock: Clock, halt: Tensor) -> None:
        """One step down the gradients at hand, which are then dropped; none if `halt`, a scalar there, is not 0."""
        self.lr = self.adam.param_groups[0]["lr"] = self.player.lr * self.player.schedule(clock)
        self.adam.found_inf = halt  # type: ignore[attr-defined]  # read by the fused kernel: no waiting
        self.adam.step()
        self.drop()

    def drop(self) -> None:
        self.adam.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Adam's moments and step counts, by the place of each parameter."""
        return {
            f"{place}.{key}": value
            for place, p in enumerate(self.parameters)
            for key, value in self.adam.state.get(p, {}).items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        for name, value in state.items():
            place, _, key = name.partition(".")
            p = self.parameters[int(place)]
            self.adam.state[p][key] = value.to(p.device)
