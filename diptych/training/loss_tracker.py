"""What the terms of training came to: sums for the log, and a watch for values that are not finite.

Both stay on the device and are changed in place, so that a recorded step changes them too; they are read only when a
line of the log is written, so that no step waits for them.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diptych.errors import TrainingError


@dataclass(frozen=True)
class LogRecord:
    """One line of the log on its way from the device: `arrived` waits until its numbers are here."""

    names: dict[str, list[str]]
    sums: dict[str, Tensor]
    first_bad: dict[str, Tensor]
    arrived: Callable[[], None]

    def means(self) -> dict[str, float]:
        """By `player/term`, over the updates in which that player moved down it."""
        self.arrived()
        totals: dict[str, float] = {}
        counts: dict[str, float] = {}
        for key, row in self.sums.items():
            *values, count = row.tolist()
            for name, value in zip(self.entries(key), values, strict=True):
                totals[name] = totals.get(name, 0.0) + value
                counts[name] = counts.get(name, 0.0) + count
        return {name: total / counts[name] for name, total in totals.items() if counts[name]}

    def entries(self, key: str) -> list[str]:
        """`player/term` for each entry of a row."""
        return [f"{key.partition('/')[0]}/{name}" for name in self.names[key]]

    def verify(self, stage: str) -> None:
        """Raise TrainingError naming stage, step and terms if anything up to this line was not finite."""
        self.arrived()
        bad = [
            (step, name)
            for key, row in self.first_bad.items()
            for name, step in zip(self.entries(key), row.tolist(), strict=True)
            if step < math.inf
        ]
        if not bad:
            return
        first = min(step for step, _ in bad)
        terms = ", ".join(name for step, name in bad if step == first)
        raise TrainingError(
            f"stage {stage!r} step {int(first)}: {terms} is not finite. That update was not applied and nothing "
            f"after it is saved. Resume goes back to the last checkpoint; if it happens again, train anew with a "
            f"smaller lr, or with precision=fp32",
            step=int(first),
        )


class LossTracker:
    """Rows by player: entries for its terms and the norm of the gradient, and last how often they came.

    A player that moves twice in a step has two rows, `player/0` and `player/1`.
    """

    def __init__(self, device: torch.device) -> None:
        self.names: dict[str, list[str]] = {}
        self.moves: Counter[str] = Counter()  # of each player in the step being taken
        self.sums: dict[str, Tensor] = {}
        self.first_bad: dict[str, Tensor] = {}  # the step at which an entry first was not finite, or inf
        self.now = torch.zeros((), device=device)  # the step being taken
        self.never = torch.full((), math.inf, device=device)  # a number from Python would be copied, and waited for
        self.bad = torch.zeros((), device=device)  # 1 once anything was not finite: optimisers stand still

    def begin(self) -> None:
        """A step is taken now."""
        self.moves.clear()

    def add(self, player: str, names: list[str], values: Tensor) -> None:
        key = f"{player}/{self.moves[player]}"
        self.moves[player] += 1
        if self.names.setdefault(key, names) != names:
            raise TrainingError(
                f"step {self.now.item():.0f}: player {player!r} was given the terms {', '.join(names)} after "
                f"{', '.join(self.names[key])}; a rule names the same terms whenever a player moves"
            )
        if key not in self.sums:
            self.sums[key] = values.new_zeros(len(values) + 1)
        if key not in self.first_bad:
            self.first_bad[key] = torch.full_like(values, math.inf)
        finite, first = values.isfinite(), self.first_bad[key]
        torch.minimum(first, torch.where(finite, self.never, self.now), out=first)
        torch.maximum(self.bad, (~finite).any().to(self.bad), out=self.bad)
        self.sums[key][:-1] += values
        self.sums[key][-1] += 1

    def verify(self, stage: str) -> None:
        """Raise TrainingError naming stage, step and terms if anything so far was not finite. Waits for the device."""
        if self.bad.item():
            self._line().verify(stage)

    def close(self) -> LogRecord:
        """The line of the steps since the last call; then starts anew. Does not wait."""
        line = self._line()
        for row in self.sums.values():
            row.zero_()
        return line

    def _line(self) -> LogRecord:
        sums, first_bad = ({key: self._sent(row) for key, row in rows.items()} for rows in (self.sums, self.first_bad))
        if self.bad.device.type != "cuda":
            return LogRecord(dict(self.names), sums, first_bad, lambda: None)
        event = torch.cuda.Event()
        event.record()
        return LogRecord(dict(self.names), sums, first_bad, event.synchronize)

    def _sent(self, row: Tensor) -> Tensor:
        """A copy on the CPU, which is there when the event after it is."""
        return row.to("cpu", non_blocking=True) if row.is_cuda else row.clone()

    def state(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        counts = {key: int(row[-1].item()) for key, row in self.sums.items()}
        open_ = {key: count for key, count in counts.items() if count}
        return {key: self.sums[key][:-1] for key in open_}, {
            "names": {key: self.names[key] for key in open_},
            "counts": open_,
        }

    def load(self, sums: dict[str, Tensor], meta: dict[str, dict[str, object]]) -> None:
        self.names = dict(meta["names"])  # type: ignore[arg-type]
        self.sums = {
            key: torch.cat([sums[key], torch.tensor([float(count)])]).to(self.bad.device)  # type: ignore[arg-type]
            for key, count in meta["counts"].items()
        }
