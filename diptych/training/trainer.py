"""The loop round the steps: log, previews, checkpoints, progress, and a stop that loses nothing."""

import shlex
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from diptych.contract import Batch, Method
from diptych.data.batches import Batches
from diptych.errors import ConfigError, DataError, EvaluationError, LoadingError, TrainingError
from diptych.metric import HELD_OUT_ERROR
from diptych.runs import checkpoint
from diptych.runs.checkpoint import State
from diptych.runs.events import EventLog
from diptych.runs.folder import Run
from diptych.runs.preview import Preview
from diptych.settings.train_config import TrainConfig
from diptych.system.atomic_files import atomic_write
from diptych.system.hardware import is_out_of_memory, peak_gib
from diptych.system.signals import stop_on_signals
from diptych.training.checkpoint_manager import CheckpointManager
from diptych.training.engine import Engine
from diptych.training.loss_tracker import LogRecord
from diptych.training.precompute import with_precomputed
from diptych.training.progress import Show, progress

# Held-out images judged: value by measure, the one that chooses, and its value as an error (`Metric.error`).
Validate = Callable[[Method, torch.device], tuple[dict[str, float], str, float]]
ASK_EVERY = 10  # steps between questions to the other ranks whether one of them was told to stop


def is_old(best: str, place: int, step: int, age: int) -> bool:
    """Whether the best checkpoint was made so many steps ago, in the same stage."""
    best_place, best_step = checkpoint.place_of(best)
    return best_place == place and step - best_step >= age


@dataclass
class Trainer:
    """Trains until the last stage is done, or until it is told to stop; `stopped` then holds the signal."""

    engine: Engine
    batches: Batches
    run: Run
    settings: TrainConfig
    preview: Preview
    console: Console
    provenance: dict[str, Any] = field(default_factory=dict)  # what results follow from; kept in each checkpoint
    validate: Validate | None = None  # judges held-out images, every so many steps
    every: int = 0
    stop_after: int | None = None
    stopped: int | None = None

    def __post_init__(self) -> None:
        self.first = self.engine.ranks.first
        self.log = EventLog(self.run.folder)
        self.checkpoint_manager = CheckpointManager(self.run, 60 * self.settings.checkpoint_minutes)
        self.open: tuple[LogRecord, dict[str, Any]] | None = None  # a line that may still be on its way from the device
        self.show: Show = lambda terms, rate: None
        self.early_stop = False  # nothing has become better for long enough

    def restore(self, path: Path, state: State) -> None:
        """Go back to a checkpoint, as read from `path`. CheckpointError; RunError if none could be added to it."""
        if self.first:
            self.checkpoint_manager.prepare()
        self.checkpoint_manager.restore(self.engine, path, state)
        if self.first:
            self.log.forget_after(self.engine.total)

    def train(self) -> None:
        """To the end, or to the end of the step in which a signal came; either way the last thing done is to save.

        So it is where the first rank meets an image that has become unreadable, or cannot judge: no step is lost.
        """
        engine = self.engine
        self.early_stop = self._is_enough()  # of a run that ended so, and goes on only with another `stop_after`
        with stop_on_signals(self._stop), progress(self.console, engine) as self.show:
            try:
                while not self._stage() and engine.place + 1 < len(engine.stages):
                    engine.start_stage(engine.place + 1)
            except LoadingError as error:
                self.save()
                raise self._with_way_on(error) from error
            except TrainingError as error:
                raise self._with_images(error) from error
            except (ConfigError, DataError, EvaluationError):
                self.save()
                raise
            self.save()
            self.log.close()
        if self.early_stop or (engine.place + 1 == len(engine.stages) and engine.step == engine.stage.steps):
            self.stopped = None  # the signal came in the last step: there is nothing to go on with

    def _stage(self) -> bool:
        """Take the steps that are left of this stage; True if told to stop."""
        if self.early_stop:
            return True
        engine, settings = self.engine, self.settings
        self.batches = self.batches.of(engine.stage.name, engine.stage.steps)
        began, at, told = time.monotonic(), engine.step, False
        pin = engine.device.type == "cuda"
        if self.validate and not engine.total:
            self._validate(self.validate)  # where to start from; and what is wrong with its settings is known now
        stream = self._coded().stream(
            engine.step, engine.stage.steps, settings.loaders, pin, self._skipped, self._interrupted
        )
        with closing(stream) as batches:  # whatever ends this, the workers end with it
            for batch in batches:
                self._take(batch)
                self.show({}, 0.0)
                last = engine.step == engine.stage.steps
                if engine.step % settings.log_every == 0 or last:
                    rate = (engine.step - at) / (time.monotonic() - began)
                    self._close_line(rate)
                    began, at = time.monotonic(), engine.step
                if engine.step % settings.preview_every == 0 or last:
                    self._preview()
                    began, at = time.monotonic(), engine.step
                if self.validate and (engine.step % self.every == 0 or last):
                    self._validate(self.validate)
                    began, at = time.monotonic(), engine.step
                if self.first and self.checkpoint_manager.is_due():
                    self.save(must=False)
                told = self._should_stop(engine.step)
                if told:
                    break
        self._write_line()
        return told or self._interrupted()

    def _coded(self) -> Batches:
        """The batches with what the stage computes once of each image."""
        engine = self.engine
        made = with_precomputed(self.batches, engine.stage, engine.device, engine.precision)
        if made is not self.batches:
            names = ", ".join(engine.stage.precomputed)
            self.console.print(f"{engine.stage.name}: computed once for all steps, codes of {names}", highlight=False)
        return made

    def _take(self, batch: Batch) -> None:
        """One step. Where memory is short, the error names the parts that would fit."""
        engine = self.engine
        try:
            with engine.ranks.watched(engine.total):
                return engine.train_step(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = (str(error) or type(error).__name__).partition("\n")[0]
        # only here, where the error no longer holds on to what the step had made
        raise TrainingError(
            f"stage {engine.stage.name!r} step {engine.step}: out of memory with batch_size={self.settings.batch_size} "
            f"grad_accum_steps={self.settings.grad_accum_steps} ({reason}). Nothing of this step is kept. {self._suggest_accumulation(batch)}"
        )

    def _skipped(self, why: str) -> None:
        """An image can no longer be read, and another takes its place."""
        if self.first:
            self.log.write("skipped", self.engine.stage.name, self.engine.total, why=why)
            self.console.print(f"left out, another takes its place: {why}", highlight=False, soft_wrap=True)

    def _with_images(self, error: TrainingError) -> TrainingError:
        if error.step is None:
            return error
        names = ", ".join(self.batches.names(error.step))
        return TrainingError(f"{error}\nImages of that step: {names}", error.step)

    def _with_way_on(self, error: LoadingError) -> LoadingError:
        """With the images of the batch, where those may matter, and the command that goes on with fewer workers."""
        workers = [f"workers={self.settings.loaders // 2}"] if self.settings.loaders else []
        command = shlex.join(["diptych", "resume", str(self.run.folder), *workers])
        named = self._with_images(error)
        return LoadingError(f"step {self.engine.total}: {named}\nGo on, once that is mended, with: {command}")

    def _suggest_accumulation(self, batch: Batch) -> str:
        """Which `grad_accum_steps` fits, found by trying it."""
        share, world = len(next(iter(batch.values()))), self.engine.ranks.world
        for parts in range(self.engine.grad_accum_steps + 1, share + 1):
            if share % parts == 0 and (world > 1 or self.engine.fits(batch, parts)):
                said = "fits" if world == 1 else "may fit"
                words = [
                    "diptych",
                    "resume",
                    str(self.run.folder),
                    f"grad_accum_steps={parts}",
                    "--allow",
                    "grad_accum_steps",
                ]
                return f"grad_accum_steps={parts} {said}: {shlex.join(words)}"
        lower = "" if self.engine.precision == "bf16" else ", or precision=bf16"
        return f"No grad_accum_steps= fits: start a new run with a smaller crop_size= or width={lower}"

    def _close_line(self, rate: float) -> None:
        """End a line of the log. On a GPU it is written when the next one ends: the device is never waited for."""
        engine = self.engine
        if engine.device.type == "cuda":
            self._write_line()
        values = {
            "lr": {name: mover.lr for name, mover in engine.optimizers.items()},
            "steps_per_second": round(rate, 3),
            "samples_per_second": round(rate * self.settings.batch_size, 3),
            "peak_gib": round(peak_gib(engine.device), 3),
        }
        self.open = engine.loss_tracker.close(), {"stage": engine.stage.name, "step": engine.total, **values}
        if engine.device.type != "cuda":
            self._write_line()

    def _write_line(self) -> None:
        if self.open is None:
            return
        (line, values), self.open = self.open, None
        line.verify(values["stage"])
        terms = line.means()
        if self.first:
            self.log.write("step", terms=terms, **values)
            self.show(terms, values["steps_per_second"])

    def _preview(self) -> None:
        """Draw a preview; where the truth is known, keep the checkpoint with the least error to it."""
        self._write_line()
        if not self.first:
            return
        engine = self.engine
        engine.verify()
        try:
            with engine.ema_weights.applied_to(engine.method):
                sheet, errors = self.preview.render(engine.method, engine.device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            warnings.warn(f"step {engine.total}: no preview, as memory is short; training goes on", stacklevel=2)
            return
        name = f"{engine.place}-{engine.step:08d}.png"
        with self.log.tried(self.run.previews), atomic_write(self.run.previews / name) as part:
            sheet.save(part, "PNG")
        self.log.write("preview", engine.stage.name, engine.total, error=errors, file=name)
        mean = HELD_OUT_ERROR.function(list(errors.values())) if errors else None
        if mean is not None and not self.validate and self.checkpoint_manager.is_better(mean):
            self.save(mean, must=False)

    def _validate(self, examine: Validate) -> None:
        """Judge held-out images; the best by the measure that was chosen is kept, and ends the run if it is old."""
        self._write_line()
        if not self.first:
            return
        engine = self.engine
        engine.verify()
        with engine.ema_weights.applied_to(engine.method):
            scores, chosen, error = examine(engine.method, engine.device)
        self.log.write("evaluation", engine.stage.name, engine.total, scores=scores, chosen=chosen)
        if self.checkpoint_manager.is_better(error):
            self.save(error, must=False)
        self.early_stop = self._is_enough()
        if self.early_stop and self.checkpoint_manager.best:
            since = checkpoint.place_of(self.checkpoint_manager.best[0])[1]
            self.console.print(f"{chosen} has not become better since step {since}: that is enough")

    def _is_enough(self) -> bool:
        """Whether `stop_after` ends this stage."""
        best, age = self.checkpoint_manager.best, (self.stop_after or 0) * self.every
        return bool(best and age and is_old(best[0], self.engine.place, self.engine.step, age))

    def save(self, error: float | None = None, must: bool = True) -> None:
        """A checkpoint of this moment; the state is the same on all ranks, so the first one writes it.

        `error` is its mean error to the truth, if known. One that is no `must` may fail: see the keeper. RunError.
        """
        engine = self.engine
        if self.first and self.checkpoint_manager.should_save(engine.place, engine.step, must):
            self._write_line()  # no later checkpoint has what it says
            engine.verify()
            self.checkpoint_manager.save(self._state(), error, must)

    def save_again(self) -> None:
        """The checkpoint just restored, as it is now made with something else. RunError."""
        if self.first:
            self.checkpoint_manager.save(self._state())

    def _state(self) -> State:
        tensors, meta = self.engine.state()
        return tensors, {**meta, "made": self.provenance}

    def _stop(self, number: int) -> None:
        self.stopped = number
        with suppress(RuntimeError):  # if it came in the middle of another print, Python allows none
            self.console.print("finishing this step, then saving; once more to stop at once")

    def _interrupted(self) -> bool:
        """Whether to stop without asking other ranks, as is possible where there are none."""
        return self.stopped is not None and self.engine.ranks.world == 1

    def _should_stop(self, step: int) -> bool:
        """Whether to stop, the same answer on all ranks."""
        if self.engine.ranks.world > 1 and step % ASK_EVERY:
            return False
        ranks = self.engine.ranks
        with ranks.watched(self.engine.total):
            if self.stop_after and ranks.any(self.early_stop):
                self.early_stop = True
                return True
            if not ranks.any(self.stopped is not None):
                return False
        self.stopped = self.stopped or signal.SIGTERM
        return True
