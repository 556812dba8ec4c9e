"""The loop round the steps: log, previews, checkpoints, progress, and a stop that loses nothing."""

import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from diptych.contract import Batch
from diptych.data.loader import Batches
from diptych.engine.config import TrainConfig
from diptych.engine.keeper import Keeper
from diptych.engine.ledger import Line
from diptych.engine.log import Log
from diptych.engine.machine import is_out_of_memory, peak_gib
from diptych.engine.preview import Preview
from diptych.engine.progress import Show, progress, told_to_stop
from diptych.engine.run import Run
from diptych.engine.step import Engine, State
from diptych.errors import DataError, TrainingError
from diptych.files import whole

ASK_EVERY = 10  # steps between questions to the other ranks whether one of them was told to stop


@dataclass
class Trainer:
    """Trains until the last stage is done, or until it is told to stop; `stopped` then holds the signal."""

    engine: Engine
    batches: Batches
    run: Run
    settings: TrainConfig
    preview: Preview
    console: Console
    made: dict[str, Any] = field(default_factory=dict)  # what results follow from; kept in each checkpoint
    stopped: int | None = None

    def __post_init__(self) -> None:
        self.first = self.engine.ranks.first
        self.log = Log(self.run.folder)
        self.keeper = Keeper(self.run, 60 * self.settings.save_minutes)
        self.open: tuple[Line, dict[str, Any]] | None = None  # a line that may still be on its way from the device

    def restore(self, path: Path, state: State) -> None:
        """Go back to a checkpoint, as read from `path`. CheckpointError; RunError if none could be added to it."""
        if self.first:
            self.keeper.prepare()
        self.keeper.restore(self.engine, path, state)
        if self.first:
            self.log.forget_after(self.engine.total)

    def train(self) -> None:
        """To the end, or to the end of the step in which a signal came; either way the last thing done is to save.

        So it is where an image turns out to be unreadable: its DataError loses no step.
        """
        with told_to_stop(self._stop), progress(self.console, self.engine) as show:
            try:
                while not self._stage(show) and self.engine.place + 1 < len(self.engine.stages):
                    self.engine.enter(self.engine.place + 1)
            except DataError:
                self.save()
                raise
        self.save()
        self.log.close()

    def _stage(self, show: Show) -> bool:
        """Take the steps that are left of this stage; True if told to stop."""
        engine, settings = self.engine, self.settings
        batches = replace(self.batches, stage=engine.stage.name)
        began, at, told = time.monotonic(), engine.step, False
        pin = engine.device.type == "cuda"
        for batch in batches.stream(engine.step, engine.stage.steps, settings.loaders, pin, self._skipped):
            self._take(batch, batches)
            show({}, 0.0)
            last = engine.step == engine.stage.steps
            if engine.step % settings.log_every == 0 or last:
                rate = (engine.step - at) / (time.monotonic() - began)
                self._close_line(rate, show)
                began, at = time.monotonic(), engine.step
            if engine.step % settings.preview_every == 0 or last:
                self._look(show)
                began, at = time.monotonic(), engine.step
            if self.first and self.keeper.due():
                self.save(must=False)
            told = self._told(engine.step)
            if told:
                break
        self._write_line(show)
        return told

    def _take(self, batch: Batch, batches: Batches) -> None:
        """One step. What stops it names the images it was taken on, or the parts that would fit into memory."""
        engine = self.engine
        try:
            with engine.ranks.watched(engine.total):
                return engine.take(batch)
        except TrainingError as error:
            raise self._with_images(error, batches) from error
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
        # only here, where the error no longer holds on to what the step had made
        raise TrainingError(
            f"stage {engine.stage.name!r} step {engine.step}: out of memory with batch={self.settings.batch} "
            f"micro={self.settings.micro} ({reason}). Nothing of this step is kept. {self._way_out(batch)}",
            step=engine.step,
        )

    def _skipped(self, why: str) -> None:
        """An image can no longer be read, and another takes its place."""
        if self.first:
            self.log.write("skipped", self.engine.stage.name, self.engine.total, why=why)
            self.console.print(f"left out, another takes its place: {why}", highlight=False, soft_wrap=True)

    def _with_images(self, error: TrainingError, batches: Batches) -> TrainingError:
        if error.step is None:
            return error
        return TrainingError(f"{error}\nImages of that step: {', '.join(batches.names(error.step))}", error.step)

    def _way_out(self, batch: Batch) -> str:
        """Which `micro` fits, found by trying it."""
        share, world = len(next(iter(batch.values()))), self.engine.ranks.world
        for parts in range(self.engine.micro + 1, share + 1):
            if share % parts == 0 and (world > 1 or self.engine.fits(batch, parts)):
                said = "fits" if world == 1 else "may fit"
                return f"micro={parts} {said}: diptych resume {self.run.folder} micro={parts} --allow micro"
        return "No micro= fits: choose a smaller crop=, a smaller width=, or precision=bf16"

    def _close_line(self, rate: float, show: Show) -> None:
        """End a line of the log. On a GPU it is written when the next one ends: the device is never waited for."""
        engine = self.engine
        if engine.device.type == "cuda":
            self._write_line(show)
        values = {
            "lr": {name: mover.lr for name, mover in engine.movers.items()},
            "steps_per_second": round(rate, 3),
            "samples_per_second": round(rate * self.settings.batch, 3),
            "peak_gib": round(peak_gib(engine.device), 3),
        }
        self.open = engine.ledger.close(), {"stage": engine.stage.name, "step": engine.total, **values}
        if engine.device.type != "cuda":
            self._write_line(show)

    def _write_line(self, show: Show) -> None:
        if self.open is None:
            return
        (line, values), self.open = self.open, None
        line.verify(values["stage"])
        terms = line.means()
        if self.first:
            self.log.write("step", terms=terms, **values)
            show(terms, values["steps_per_second"])

    def _look(self, show: Show) -> None:
        """Draw a preview; where the truth is known, keep the checkpoint with the least error to it."""
        self._write_line(show)
        if not self.first:
            return
        engine = self.engine
        engine.verify()
        with engine.averages.inside(engine.method):
            sheet, errors = self.preview.look(engine.method, engine.device)
        name = f"{engine.place}-{engine.step:08d}.png"
        with self.log.tried(self.run.previews), whole(self.run.previews / name) as part:
            sheet.save(part, "PNG")
        self.log.write("preview", engine.stage.name, engine.total, error=errors, file=name)
        error = sum(errors.values()) / len(errors) if errors else None
        if error is not None and self.keeper.is_better(error):
            self.save(error, must=False)

    def save(self, error: float | None = None, must: bool = True) -> None:
        """A checkpoint of this moment; the state is the same on all ranks, so the first one writes it.

        `error` is its mean error to the truth, if known. One that is no `must` may fail: see the keeper. RunError.
        """
        engine = self.engine
        if self.first and self.keeper.wants(engine.place, engine.step, must):
            engine.verify()
            tensors, meta = engine.state()
            self.keeper.save((tensors, {**meta, "made": self.made}), error, must)

    def _stop(self, number: int) -> None:
        self.stopped = number
        with suppress(RuntimeError):  # Python allows no print in the middle of another, which the signal may have come in
            self.console.print("finishing this step, then saving; once more to stop at once")

    def _told(self, step: int) -> bool:
        """Whether to stop, the same answer on all ranks."""
        if self.engine.ranks.world > 1 and step % ASK_EVERY:
            return False
        with self.engine.ranks.watched(self.engine.total):
            if not self.engine.ranks.any(self.stopped is not None):
                return False
        self.stopped = self.stopped or signal.SIGTERM
        return True
