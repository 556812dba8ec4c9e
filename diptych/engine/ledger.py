"""What the terms of training came to: sums for the log, and a watch for values that are not finite.

Both stay on the device and are read only when a line of the log is written, so that no step waits for them.
"""

import math

import torch
from torch import Tensor

from diptych.errors import TrainingError


class Ledger:
    """Rows by player, each with one entry a term and a last one for the norm of the gradient."""

    def __init__(self, device: torch.device) -> None:
        self.names: dict[str, list[str]] = {}
        self.counts: dict[str, int] = {}
        self.sums: dict[str, Tensor] = {}
        self.first_bad: dict[str, Tensor] = {}  # the step at which an entry first was not finite, or inf
        self.bad = torch.zeros((), device=device)  # 1 from then on: optimisers stand still

    def add(self, player: str, names: list[str], values: Tensor, step: int) -> None:
        if self.names.setdefault(player, names) != names:
            raise TrainingError(
                f"step {step}: player {player!r} was given the terms {', '.join(names)} after "
                f"{', '.join(self.names[player])}; a rule names the same terms whenever a player moves"
            )
        if player not in self.sums:
            self.sums[player], self.counts[player] = torch.zeros_like(values), 0
        row = torch.where(values.isfinite(), math.inf, float(step))
        self.first_bad[player] = torch.minimum(self.first_bad[player], row) if player in self.first_bad else row
        self.bad = torch.maximum(self.bad, (~values.isfinite()).any().to(self.bad))
        self.sums[player] += values
        self.counts[player] += 1

    def verify(self, stage: str) -> None:
        """Raise TrainingError naming stage, step and terms if anything so far was not finite. Waits for the device."""
        if not self.bad.item():
            return
        bad = [
            (step, f"{player}/{name}")
            for player, row in self.first_bad.items()
            for name, step in zip(self.names[player], row.tolist(), strict=True)
            if step < math.inf
        ]
        first = min(step for step, _ in bad)
        terms = ", ".join(name for step, name in bad if step == first)
        raise TrainingError(
            f"stage {stage!r} step {int(first)}: {terms} is not finite. That update was not applied and nothing "
            f"after it is saved. Resume goes back to the last checkpoint; if it happens again, train anew with a "
            f"smaller lr, or with precision=fp32"
        )

    def averages(self) -> dict[str, float]:
        """Means since the last call by `player/term`; then starts anew. Waits for the device."""
        means = {
            f"{player}/{name}": value
            for player, row in self.sums.items()
            for name, value in zip(self.names[player], (row / self.counts[player]).tolist(), strict=True)
        }
        self.sums, self.counts = {}, {}
        return means

    def state(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        return dict(self.sums), {
            "names": {player: self.names[player] for player in self.sums},
            "counts": dict(self.counts),
        }

    def load(self, sums: dict[str, Tensor], meta: dict[str, dict[str, object]]) -> None:
        self.sums = {player: sums[player].to(self.bad.device) for player in meta["counts"]}
        self.names, self.counts = dict(meta["names"]), dict(meta["counts"])  # type: ignore[arg-type]
