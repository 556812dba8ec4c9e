"""Keeps the checkpoints of a run: when one is due, what happens when the disk refuses one, and what may be removed.

A save that fails costs nothing but itself: the run goes on, warns, and tries again a minute later; the third failure
in a row ends it with a RunError, and so does a save that must not be missed (the first, the last, the one after a
signal) once it has been tried three times. Nothing is removed before two newer ones are whole and on the disk.
"""

import math
import shlex
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from diptych.errors import CheckpointError, RunError
from diptych.metric import HELD_OUT_ERROR
from diptych.runs import checkpoint
from diptych.runs.checkpoint import State
from diptych.runs.folder import Run
from diptych.system.atomic_files import sweep, write_probe
from diptych.training.engine import Engine

TRIES = 3  # failures in a row that end a run
RETRY = 60.0  # seconds between tries while training goes on: time to make room
PAUSE = 1.0  # seconds between tries of a save that must not be missed


@dataclass
class CheckpointManager:
    """The checkpoints of `run`: one every `every` seconds, the `keep` newest (two at least) and the best are kept."""

    run: Run
    every: float
    keep: int = 2
    best: tuple[str, float] | None = None  # name and error of the best checkpoint, once there is a truth
    failures: int = 0  # in a row
    whole: dict[str, int] = field(default_factory=dict)  # written or read whole by this process: bytes by name, by age

    def __post_init__(self) -> None:
        self.tried = time.monotonic()

    @property
    def folder(self) -> Path:
        return self.run.checkpoints

    @property
    def last(self) -> str:
        """The name of the newest one that this process knows to be whole, or nothing."""
        return next(reversed(self.whole), "")

    def prepare(self) -> None:
        """Remove what a killed process left half written, and see that a checkpoint can be written here. RunError."""
        for folder in (self.run.folder, self.folder, self.run.previews, self.run.model):
            sweep(folder)
        try:
            write_probe(self.folder)
        except OSError as error:
            raise RunError(f"{self._refused(error)}; make it writable, then try again") from error

    def restore(self, engine: Engine, path: Path, state: State) -> None:
        """Bring the engine back to a checkpoint that was read from `path`. CheckpointError if it is of other nets."""
        tensors, meta = state
        try:
            engine.load((tensors, meta))
        except (CheckpointError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: is of another method or other settings than {self.run.config} ({error})"
            ) from error
        self.best = checkpoint.best_of(meta)
        self.whole = {path.name: path.stat().st_size}
        self._check_best()

    def is_due(self) -> bool:
        """Whether it is time to save; sooner than that after a failure."""
        wait = min(RETRY, self.every) if self.failures else self.every
        return time.monotonic() - self.tried >= wait

    def is_better(self, error: float) -> bool:
        """Whether a checkpoint with this mean error to the truth would be the best so far."""
        return math.isfinite(error) and (self.best is None or HELD_OUT_ERROR.is_better(error, self.best[1]))

    def should_save(self, place: int, step: int, must: bool) -> bool:
        """Whether to save this moment: not twice, and after a failure only when it is due or a must."""
        return checkpoint.name_of(place, step) != self.last and (must or not self.failures or self.is_due())

    def save(self, state: State, error: float | None = None, must: bool = True) -> None:
        """Write a checkpoint, then remove what is no longer needed. RunError as said above.

        `error` is its mean error to the truth, where that was measured just now.
        """
        tensors, meta = state
        name = checkpoint.name_of(meta["place"], meta["step"])
        best = (name, error) if error is not None and self.is_better(error) else self.best
        state = tensors, {**meta, "best": {"name": best[0], "error": best[1]} if best else None}
        if must:
            self.failures = 0  # it has tries of its own
        while not self._written(name, state, must):
            if not must:
                return
            time.sleep(PAUSE)
        self.best = best
        self._purge()

    def _written(self, name: str, state: State, must: bool) -> bool:
        """One try. A RunError if it is the last one."""
        self.tried = time.monotonic()
        try:
            checkpoint.save(self.folder / name, state)
        except OSError as error:
            self.failures += 1
            if self.failures >= TRIES:
                raise RunError(
                    f"{self._refused(error)}, {self.failures} times in a row; make room, then go on from the "
                    f"checkpoint before: {shlex.join(['diptych', 'resume', str(self.run.folder)])}"
                ) from error
            if not must:
                warnings.warn(
                    f"{self._refused(error)}. Training goes on, the checkpoint before is whole; make room: "
                    f"{TRIES - self.failures} more failure(s) end this run, the next try is in "
                    f"{min(RETRY, self.every):.0f} s",
                    stacklevel=3,
                )
            return False
        self.failures = 0
        self.whole.pop(name, None)  # so that it is the last one
        self.whole[name] = (self.folder / name).stat().st_size
        return True

    def _refused(self, error: OSError) -> str:
        return f"{self.folder}: a checkpoint cannot be written ({error})"

    def _purge(self) -> None:
        """Remove all but the newest and the best; nothing as long as fewer than `keep` are known to be whole.

        Those that lie there from before count for nothing: nobody has read them. Neither do those of this process
        that have since lost their size. A file that cannot be removed is left for the next time.
        """
        sizes = {}
        for path in checkpoint.all_in(self.folder):
            with suppress(OSError):
                sizes[path.name] = path.stat().st_size
        sound = [name for name, size in self.whole.items() if sizes.get(name) == size]
        keep = max(2, self.keep)
        kept = {*sound[-keep:], *([self.best[0]] if self.best else [])}
        if len(sound) < keep:
            return
        for name in sizes.keys() - kept:
            with suppress(OSError):
                (self.folder / name).unlink()
        self.whole = {name: self.whole[name] for name in sound[-keep:]}

    def _check_best(self) -> None:
        """Forget a best checkpoint that is lost or damaged, so that the next preview chooses one anew."""
        if not self.best or self.best[0] in self.whole:
            return
        try:
            checkpoint.load(self.folder / self.best[0])
        except CheckpointError as error:
            warnings.warn(f"{error}; it was the best one, and the next preview chooses a best anew", stacklevel=2)
            self.best = None
