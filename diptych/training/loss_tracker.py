"""Means of loss terms for the log, and detection of values that are not finite.

Both are kept in tensors on the device and changed in place, so that CUDA graphs can replay the changes. They are read
only when a log record is written, so that no step waits for the device.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diptych.errors import TrainingError


@dataclass(frozen=True)
class LogRecord:
    """Sums of loss terms over the steps between two log records, as CPU tensors.

    On a GPU the copies may still be under way: `wait` returns when they are complete.
    """

    names: dict[str, list[str]]  # names of the loss terms by row
    sums: dict[str, Tensor]  # sums of the terms by row, and last the number of updates
    first_bad: dict[str, Tensor]  # by row, the step at which a term first was not finite, or inf
    wait: Callable[[], None]

    def means(self) -> dict[str, float]:
        """Return the mean of each loss term over its updates, as `player/term`."""
        self.wait()
        totals: dict[str, float] = {}
        counts: dict[str, float] = {}
        for row, sums in self.sums.items():
            *values, count = sums.tolist()
            for name, value in zip(self._full_names(row), values, strict=True):
                totals[name] = totals.get(name, 0.0) + value
                counts[name] = counts.get(name, 0.0) + count
        return {name: total / counts[name] for name, total in totals.items() if counts[name]}

    def verify(self, stage: str) -> None:
        """Raise TrainingError naming stage, step and terms if a value up to this record was not finite."""
        self.wait()
        bad = [
            (step, name)
            for row, steps in self.first_bad.items()
            for name, step in zip(self._full_names(row), steps.tolist(), strict=True)
            if step < math.inf
        ]
        if not bad:
            return
        first = min(step for step, _ in bad)
        terms = ", ".join(name for step, name in bad if step == first)
        raise TrainingError(
            f"stage {stage!r} step {int(first)}: {terms} is not finite. That update was not applied and nothing "
            f"after it is saved. `diptych resume` continues from the last checkpoint; if it happens again, start a "
            f"new run with a smaller lr, or with precision=fp32",
            step=int(first),
        )

    def _full_names(self, row: str) -> list[str]:
        """Return `player/term` for each term of a row."""
        return [f"{row.partition('/')[0]}/{name}" for name in self.names[row]]


class LossTracker:
    """Sums loss terms and gradient norms per player, in one row per update.

    A player that is updated twice in a step has two rows, `player/0` and `player/1`.
    """

    def __init__(self, device: torch.device) -> None:
        self.names: dict[str, list[str]] = {}
        self.updates: Counter[str] = Counter()  # updates of each player in the present step
        self.sums: dict[str, Tensor] = {}
        self.first_bad: dict[str, Tensor] = {}
        self.now = torch.zeros((), device=device)  # the present step
        self.never = torch.full((), math.inf, device=device)  # on the device: a Python number would have to be copied
        self.not_finite = torch.zeros((), device=device)  # 1 once a value was not finite: optimisers stand still

    def begin_step(self) -> None:
        """Start counting updates for a new step."""
        self.updates.clear()

    def add(self, player: str, names: list[str], values: Tensor) -> None:
        """Add the values (len(names),) of one update. TrainingError if the names differ from earlier steps."""
        row = f"{player}/{self.updates[player]}"
        self.updates[player] += 1
        if self.names.setdefault(row, names) != names:
            raise TrainingError(
                f"step {self.now.item():.0f}: player {player!r} was given the terms {', '.join(names)} after "
                f"{', '.join(self.names[row])}; `updates` must name the same terms in every step"
            )
        if row not in self.sums:
            self.sums[row] = values.new_zeros(len(values) + 1)
        if row not in self.first_bad:
            self.first_bad[row] = torch.full_like(values, math.inf)
        finite, first_bad = values.isfinite(), self.first_bad[row]
        torch.minimum(first_bad, torch.where(finite, self.never, self.now), out=first_bad)
        torch.maximum(self.not_finite, (~finite).any().to(self.not_finite), out=self.not_finite)
        self.sums[row][:-1] += values
        self.sums[row][-1] += 1

    def verify(self, stage: str) -> None:
        """Raise TrainingError naming stage, step and terms if a value so far was not finite. Waits for the device."""
        if self.not_finite.item():
            self._record().verify(stage)

    def close(self) -> LogRecord:
        """Return the record of the steps since the last call and reset the sums. Does not wait for the device."""
        record = self._record()
        for sums in self.sums.values():
            sums.zero_()
        return record

    def _record(self) -> LogRecord:
        names = dict(self.names)
        sums = {row: _copy_to_cpu(values) for row, values in self.sums.items()}
        first_bad = {row: _copy_to_cpu(steps) for row, steps in self.first_bad.items()}
        if self.not_finite.device.type != "cuda":
            return LogRecord(names, sums, first_bad, lambda: None)
        event = torch.cuda.Event()
        event.record()
        return LogRecord(names, sums, first_bad, event.synchronize)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the sums by row, and names and numbers of updates for JSON, of rows with an update."""
        counts = {row: int(values[-1].item()) for row, values in self.sums.items()}
        counts = {row: count for row, count in counts.items() if count}
        sums = {row: self.sums[row][:-1] for row in counts}
        return sums, {"names": {row: self.names[row] for row in counts}, "counts": counts}

    def load(self, sums: dict[str, Tensor], meta: Mapping[str, Mapping[str, Any]]) -> None:
        """Restore what `state` returned."""
        self.names = dict(meta["names"])
        counts = {row: torch.tensor([float(count)]) for row, count in meta["counts"].items()}
        self.sums = {row: torch.cat([sums[row], counts[row]]).to(self.not_finite.device) for row in counts}


def _copy_to_cpu(values: Tensor) -> Tensor:
    """Return a copy on the CPU; from a GPU it is complete once an event recorded after it has passed."""
    return values.to("cpu", non_blocking=True) if values.is_cuda else values.clone()
