"""Checkpoints of a run: when one is due, what happens if the disk refuses one, and which may be removed.

A failed save costs only itself: training goes on with a warning, and the save is tried again a minute later. The third
failure in a row ends the run with a RunError. A required save (the first, the last, the one after a signal) is tried
three times at once. No checkpoint is removed before two newer ones are complete and on the disk.
"""

import math
import shlex
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from diptych.contract.metric import HELD_OUT_ERROR
from diptych.errors import CheckpointError, RunError
from diptych.runs import checkpoint
from diptych.runs.checkpoint import State
from diptych.runs.folder import Run
from diptych.system.atomic_files import remove_leftovers, write_probe
from diptych.training.engine import Engine

MAX_FAILURES = 3  # failures in a row that end a run
RETRY_SECONDS = 60.0  # between tries while training goes on: time to free disk space
PAUSE_SECONDS = 1.0  # between tries of a required save


@dataclass
class CheckpointManager:
    """Saves a checkpoint of `run` every `every` seconds; keeps the `keep` newest (at least two) and the best."""

    run: Run
    every: float
    keep: int = 2
    best: tuple[str, float] | None = None  # name and held-out error of the best checkpoint, once one is measured
    failures: int = 0  # in a row
    complete: dict[str, int] = field(default_factory=dict)  # size in bytes by name, oldest first; only verified files

    def __post_init__(self) -> None:
        self.last_try = time.monotonic()

    @property
    def folder(self) -> Path:
        """The folder of the checkpoints."""
        return self.run.checkpoints

    @property
    def last(self) -> str:
        """The name of the newest checkpoint that this process wrote or verified; empty if there is none."""
        return next(reversed(self.complete), "")

    def prepare(self) -> None:
        """Remove incomplete files of killed processes and check that a checkpoint can be written. RunError."""
        for folder in (self.run.folder, self.folder, self.run.previews, self.run.model):
            remove_leftovers(folder)
        try:
            write_probe(self.folder)
        except OSError as error:
            raise RunError(f"{self._failure(error)}; make it writable, then try again") from error

    def restore(self, engine: Engine, path: Path, state: State) -> None:
        """Load the checkpoint read from `path` into the engine. CheckpointError if it is of other networks."""
        tensors, meta = state
        try:
            engine.load((tensors, meta))
        except (CheckpointError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: is of another method or other settings than {self.run.config} ({error})"
            ) from error
        self.best = checkpoint.best_of(meta)
        self.complete = {path.name: path.stat().st_size}
        self._verify_best()

    def is_due(self) -> bool:
        """Return whether it is time to save. After a failure the time is shorter."""
        wait = min(RETRY_SECONDS, self.every) if self.failures else self.every
        return time.monotonic() - self.last_try >= wait

    def is_better(self, error: float) -> bool:
        """Return whether a checkpoint with this held-out error would be the best so far."""
        return math.isfinite(error) and (self.best is None or HELD_OUT_ERROR.is_better(error, self.best[1]))

    def should_save(self, stage_index: int, step: int, required: bool) -> bool:
        """Return whether to save this step: not twice, and after a failure only if it is due or required."""
        is_new = checkpoint.file_name(stage_index, step) != self.last
        return is_new and (required or not self.failures or self.is_due())

    def save(self, state: State, error: float | None = None, required: bool = True) -> None:
        """Write a checkpoint, then remove those that are no longer needed.

        `error` is its held-out error, if it was measured in this step.
        Raises RunError after repeated failures; if not `required`, the first ones are only warnings.
        """
        tensors, meta = state
        name = checkpoint.file_name(meta["place"], meta["step"])
        best = (name, error) if error is not None and self.is_better(error) else self.best
        state = tensors, {**meta, "best": {"name": best[0], "error": best[1]} if best else None}
        if required:
            self.failures = 0
        while not self._try_write(name, state, required):
            if not required:
                return
            time.sleep(PAUSE_SECONDS)
        self.best = best
        self._purge()

    def _try_write(self, name: str, state: State, required: bool) -> bool:
        """Try to write once; return whether that succeeded. RunError if this was the last try."""
        self.last_try = time.monotonic()
        try:
            checkpoint.save(self.folder / name, state)
        except OSError as error:
            self.failures += 1
            if self.failures >= MAX_FAILURES:
                raise RunError(
                    f"{self._failure(error)}, {self.failures} times in a row; make room on the disk, then resume from "
                    f"the last checkpoint: {shlex.join(['diptych', 'resume', str(self.run.folder)])}"
                ) from error
            if not required:
                warnings.warn(
                    f"{self._failure(error)}. Training goes on, and the last checkpoint is complete; make room on the "
                    f"disk: {MAX_FAILURES - self.failures} more failure(s) end this run, the next try is in "
                    f"{min(RETRY_SECONDS, self.every):.0f} s",
                    stacklevel=3,
                )
            return False
        self.failures = 0
        self.complete.pop(name, None)  # so that it becomes the last entry
        self.complete[name] = (self.folder / name).stat().st_size
        return True

    def _failure(self, error: OSError) -> str:
        return f"{self.folder}: a checkpoint cannot be written ({error})"

    def _purge(self) -> None:
        """Remove all but the newest and the best; nothing while fewer than `keep` are known to be complete.

        Files of earlier processes do not count as complete, because nobody has verified them. Neither do files of
        this process whose size has changed. A file that cannot be removed is tried again next time.
        """
        sizes = {}
        for path in checkpoint.list_checkpoints(self.folder):
            with suppress(OSError):
                sizes[path.name] = path.stat().st_size
        intact = [name for name, size in self.complete.items() if sizes.get(name) == size]
        keep = max(2, self.keep)
        if len(intact) < keep:
            return
        needed = {*intact[-keep:], *([self.best[0]] if self.best else [])}
        for name in sizes.keys() - needed:
            with suppress(OSError):
                (self.folder / name).unlink()
        self.complete = {name: self.complete[name] for name in intact[-keep:]}

    def _verify_best(self) -> None:
        """Forget a best checkpoint that is missing or damaged, so that a new best can be chosen."""
        if not self.best or self.best[0] in self.complete:
            return
        try:
            checkpoint.load(self.folder / self.best[0])
        except CheckpointError as error:
            warnings.warn(f"{error}; it was the best one: the next preview chooses a new best", stacklevel=2)
            self.best = None
