"""The loop round the steps: log, previews, checkpoints, progress, and a stop that loses nothing."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import SafetensorError

from diptych.data.loader import Batches
from diptych.engine import checkpoint
from diptych.engine.config import TrainConfig
from diptych.engine.log import Log
from diptych.engine.preview import Preview
from diptych.engine.run import Run
from diptych.engine.step import Engine
from diptych.errors import DataError, RunError, TrainingError
from diptych.files import whole

Show = Callable[[dict[str, float], float], None]  # the terms of a line of the log and steps per second; or neither
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
    stopped: int | None = None
    best: tuple[str, float] | None = None  # file and error of the best checkpoint, once there is a truth

    def __post_init__(self) -> None:
        self.first = self.engine.ranks.first
        self.log = Log(self.run.folder)
        self.saved, self.saved_at = time.monotonic(), ""

    def restore(self) -> None:
        """Go back to the newest whole checkpoint. Raises CheckpointError."""
        tensors, meta = checkpoint.newest(self.run.checkpoints)
        best = meta.pop("best")
        self.best = (best["name"], best["error"]) if best else None
        self.engine.load((tensors, meta))
        if self.first:
            self.log.forget_after(self.engine.total)

    def train(self) -> None:
        """To the end, or to the end of the step in which a signal came; either way the last thing done is to save.

        So it is where an image turns out to be unreadable: its DataError loses no step.
        """
        with told_to_stop(self._stop), self._progress() as show:
            try:
                while not self._stage(show) and self.engine.place + 1 < len(self.engine.stages):
                    self.engine.enter(self.engine.place + 1)
            except torch.OutOfMemoryError as error:
                raise TrainingError(
                    f"step {self.engine.total}: out of memory ({str(error).splitlines()[0]}). What was saved is whole; "
                    f"train with a larger micro=, a smaller crop= or batch=, or precision=bf16"
                ) from error
            except DataError:
                self.save()
                raise
        self.save()
        self.log.close()

    def _stage(self, show: Show) -> bool:
        """Take the steps that are left of this stage; True if told to stop."""
        engine, settings = self.engine, self.settings
        batches = replace(self.batches, stage=engine.stage.name)
        pin = engine.ranks.device.type == "cuda"
        began, at = time.monotonic(), engine.step
        for batch in batches.stream(engine.step, engine.stage.steps, settings.workers, pin):
            engine.take({name: value.to(engine.ranks.device, non_blocking=True) for name, value in batch.items()})
            show({}, 0.0)
            last = engine.step == engine.stage.steps
            if engine.step % settings.log_every == 0 or last:
                engine.verify()
                rate = (engine.step - at) / (time.monotonic() - began)
                show(self._write_line(rate), rate)
                began, at = time.monotonic(), engine.step
            if engine.step % settings.preview_every == 0 or last:
                self._look()
                began, at = time.monotonic(), engine.step
            if time.monotonic() - self.saved > 60 * settings.save_minutes:
                self.save()
            if self._told(engine.step):
                return True
        return False

    def _write_line(self, rate: float) -> dict[str, float]:
        """One line of the log."""
        engine = self.engine
        terms = engine.ledger.averages()
        if self.first:
            lr = {name: mover.lr for name, mover in engine.movers.items()}
            memory = torch.cuda.max_memory_allocated() / 2**30 if engine.ranks.device.type == "cuda" else None
            self.log.write(
                "step",
                engine.stage.name,
                engine.total,
                terms=terms,
                lr=lr,
                steps_per_second=round(rate, 3),
                samples_per_second=round(rate * self.settings.batch, 3),
                peak_gib=memory,
            )
        return terms

    def _look(self) -> None:
        """Draw a preview; where the truth is known, keep the checkpoint with the least error to it."""
        if not self.first:
            return
        engine = self.engine
        engine.verify()
        with engine.averages.inside(engine.method):
            sheet, errors = self.preview.look(engine.method, engine.ranks.device)
        name = f"{engine.place}-{engine.step:08d}.png"
        with whole(self.run.previews / name) as part:
            sheet.save(part, "PNG")
        self.log.write("preview", engine.stage.name, engine.total, error=errors, file=name)
        error = sum(errors.values()) / len(errors) if errors else None
        if error is not None and (self.best is None or error < self.best[1]):
            self.best = checkpoint.name_of(engine.place, engine.step), error
            self.save()

    def save(self) -> None:
        """A checkpoint of this moment; the state is the same on all ranks, so the first one writes it. RunError."""
        self.saved = time.monotonic()
        name = checkpoint.name_of(self.engine.place, self.engine.step)
        if not self.first or name == self.saved_at:
            return
        self.engine.verify()
        tensors, meta = self.engine.state()
        best = {"name": self.best[0], "error": self.best[1]} if self.best else None
        try:
            checkpoint.save(self.run.checkpoints / name, (tensors, {**meta, "best": best}))
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"{self.run.checkpoints}: cannot be written ({error}); make room, then go on from the checkpoint "
                f"before: diptych resume {self.run.folder}"
            ) from error
        self.saved_at = name
        checkpoint.tidy(self.run.checkpoints, self.best[0] if self.best else None)

    def _stop(self, number: int) -> None:
        self.stopped = number
        self.console.print("finishing this step, then saving; once more to stop at once")

    def _told(self, step: int) -> bool:
        """Whether to stop, the same answer on all ranks."""
        if self.engine.ranks.world > 1 and step % ASK_EVERY:
            return False
        if not self.engine.ranks.any(self.stopped is not None):
            return False
        self.stopped = self.stopped or signal.SIGTERM
        return True

    @contextmanager
    def _progress(self) -> Iterator[Show]:
        """A live bar on a terminal, a line now and then elsewhere."""
        if not self.first or not self.console.is_terminal:
            yield self._print_line
            return
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rate]} [dim]{task.fields[terms]}"),
        )
        with Progress(*columns, console=self.console) as bar:
            task = bar.add_task("", total=None, rate="", terms="")

            def show(terms: dict[str, float], rate: float) -> None:
                stage = self.engine.stage
                bar.update(task, description=stage.name, total=stage.steps, completed=self.engine.step)
                if terms:
                    bar.update(task, rate=f"{rate:.2f} steps/s", terms=in_words(terms))

            yield show

    def _print_line(self, terms: dict[str, float], rate: float) -> None:
        if not self.first or not terms:
            return
        engine = self.engine
        left = (engine.stage.steps - engine.step) / rate
        self.console.print(
            f"{engine.stage.name} {engine.step}/{engine.stage.steps}  {rate:.2f} steps/s  "
            f"{left / 60:.0f} min left  {in_words(terms)}",
            highlight=False,
            soft_wrap=True,
        )


def in_words(terms: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3g}" for name, value in terms.items() if not name.endswith("/gradient"))


@contextmanager
def told_to_stop(stop: Callable[[int], None]) -> Iterator[None]:
    """Within, the first SIGINT or SIGTERM calls `stop`; a second one acts as it always does."""
    before: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        stop(number)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, handle)
    except ValueError:  # only the main thread may listen to signals
        pass
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
