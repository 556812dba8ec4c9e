"""One Adam for each player."""

import torch
from torch import Tensor

from diptych.contract import Clock, Player


class PlayerOptimizer:
    """Moves one player: its parameters, Adam, and the schedule of its step size."""

    def __init__(self, player: Player, device: torch.device) -> None:
        self.player = player
        self.parameters = player.parameters()
        self.lr = player.lr  # of the step being taken
        self.capturable = device.type == "cuda"  # a recorded step reads its size and number from the device
        self.size = torch.tensor(self.lr, device=device) if self.capturable else None
        self.adam = torch.optim.Adam(
            self.parameters,
            self.lr if self.size is None else self.size,
            player.betas,
            weight_decay=player.weight_decay,
            fused=True,
            capturable=self.capturable,
        )

    def set_lr(self, clock: Clock) -> None:
        """Set the step size of the coming step."""
        self.lr = self.player.lr * self.player.schedule(clock)
        if self.size is None:
            self.adam.param_groups[0]["lr"] = self.lr
        else:
            self.size.fill_(self.lr)

    def step(self, halt: Tensor) -> None:
        """One step down the gradients at hand, which are then dropped; none if `halt`, a scalar there, is not 0."""
        if self.player.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.player.clip)
        self.adam.found_inf = halt  # type: ignore[attr-defined]  # read by the fused kernel: no waiting
        self.adam.step()
        self.zero_grad()

    def zero_grad(self) -> None:
        self.adam.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Adam's moments and step counts, by the place of each parameter."""
        return {
            f"{place}.{key}": value
            for place, p in enumerate(self.parameters)
            for key, value in self.adam.state.get(p, {}).items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Moments take the layout of their parameter: the fused kernel reads all of them as flat memory."""
        for name, value in state.items():
            place, _, key = name.partition(".")
            p = self.parameters[int(place)]
            self.adam.state[p][key] = torch.empty_like(p).copy_(value) if value.dim() else value.to(p.device)
