"""One Adam optimiser per player, with its learning rate schedule."""

import torch
from torch import Tensor

from diptych.contract import Clock, Player


class PlayerOptimizer:
    """Adam on the parameters of one player. Each stage has its own."""

    def __init__(self, player: Player, device: torch.device) -> None:
        self.player = player
        self.parameters = player.parameters()
        self.lr = player.lr  # of the present step
        self.capturable = device.type == "cuda"  # a CUDA graph reads learning rate and step count from the device
        self.lr_tensor = torch.tensor(self.lr, device=device) if self.capturable else None
        self.adam = torch.optim.Adam(
            self.parameters,
            self.lr if self.lr_tensor is None else self.lr_tensor,
            player.betas,
            weight_decay=player.weight_decay,
            fused=True,
            capturable=self.capturable,
        )

    def set_lr(self, clock: Clock) -> None:
        """Set the learning rate of the coming step from the player's schedule."""
        self.lr = self.player.lr * self.player.schedule(clock)
        if self.lr_tensor is None:
            self.adam.param_groups[0]["lr"] = self.lr
        else:
            self.lr_tensor.fill_(self.lr)

    def step(self, not_finite: Tensor) -> None:
        """Clip gradients, step Adam, and drop the gradients. If `not_finite` (scalar) is 1, weights do not change."""
        if self.player.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.player.clip)
        self.adam.found_inf = not_finite  # type: ignore[attr-defined]  # the fused kernel reads it on the device
        self.adam.step()
        self.zero_grad()

    def zero_grad(self) -> None:
        """Drop the gradients."""
        self.adam.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Return Adam's moments and step counts as `INDEX.KEY`, with the index of the parameter."""
        return {
            f"{index}.{key}": value
            for index, parameter in enumerate(self.parameters)
            for key, value in self.adam.state.get(parameter, {}).items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore a state. Moments take the memory format of their parameter, which the fused kernel requires."""
        for name, value in state.items():
            index, _, key = name.partition(".")
            parameter = self.parameters[int(index)]
            restored = torch.empty_like(parameter).copy_(value) if value.dim() else value.to(parameter.device)
            self.adam.state[parameter][key] = restored
