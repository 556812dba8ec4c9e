"""Training stages: which networks are updated together, by which rule, on which schedule."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

Batch = dict[str, Tensor]  # images (N, C, H, W) in [-1, 1], labels of int64
VALID = "valid"  # entry of pairs with pixels without data: (N, 1, H, W), 1 where source and target have data, else 0
Terms = dict[str, Tensor]  # loss terms by name, already weighted, each a scalar
Update = tuple[str | tuple[str, ...], Terms]  # the players to update, and the terms to minimise
Rule = Callable[[Batch, "Clock"], Iterator[Update]]


@dataclass(frozen=True)
class Clock:
    """The position in training. Every schedule is a function of it, so no schedule has state.

    Values of a clock are only multiplied, or branched on by step number; they are never mixed with data.
    """

    stage: str
    step: int  # completed steps of this stage
    steps: int  # all steps of this stage

    def decay(self, start: float = 0.0, end: float = 1.0) -> float:
        """Return 1 until the fraction `start` of the stage, then a linear decay that reaches 0 at the fraction `end`.

        The last step of a stage is at (steps - 1) / steps, so with `end=1` its factor is small but above 0.
        """
        if end <= start:
            return 1.0 if self.step < start * self.steps else 0.0
        return min(1.0, max(0.0, (end - self.step / self.steps) / (end - start)))


def constant(clock: Clock) -> float:
    """Return 1, the factor of a constant learning rate."""
    return 1.0


@dataclass(frozen=True)
class Player:
    """Networks that one Adam optimizer updates together: a player of the minimax game."""

    nets: tuple[nn.Module, ...]
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0
    schedule: Callable[[Clock], float] = constant  # factor of the learning rate
    clip: float | None = None  # largest norm of the gradient of all weights together; longer ones are scaled down

    def parameters(self) -> list[nn.Parameter]:
        """Return each trainable parameter once, in a fixed order."""
        return list(dict.fromkeys(p for net in self.nets for p in net.parameters() if p.requires_grad))


@dataclass(frozen=True)
class Stage:
    """A part of training with its own update rule; most methods have one."""

    name: str
    steps: int
    updates: Rule
    players: dict[str, Player]
    schedule_key: Callable[[Clock], Hashable] = lambda clock: None  # steps of one key update the same players in order
    # Frozen functions of a batch entry, computed once per image and cached: the batch then also holds
    # `code of ENTRY`. Used only where augmentation is deterministic. DTN, whose f is frozen in its second stage.
    precomputed: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
