"""The training loop: batches, log, previews, validation, checkpoints, and a stop that loses no step.

`Trainer.train` runs the stages of a method one after the other; `Trainer._train_stage` is the loop over batches.
"""

import signal
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from diptych.contract import Batch, Method
from diptych.contract.metric import HELD_OUT_ERROR
from diptych.data.batches import Batches
from diptych.errors import CallbackError, ConfigError, DataError, EvaluationError, LoadingError, TrainingError
from diptych.runs import checkpoint
from diptych.runs.checkpoint import State
from diptych.runs.events import EventLog
from diptych.runs.folder import Run
from diptych.runs.preview import Preview
from diptych.settings.train_config import EvaluateConfig, TrainConfig
from diptych.system.atomic_files import atomic_write
from diptych.system.hardware import is_out_of_memory, peak_gib
from diptych.system.signals import stop_on_signals
from diptych.training.callbacks import Callback, CallbackList, TrainingContext, context_of
from diptych.training.checkpoint_manager import CheckpointManager
from diptych.training.engine import Engine
from diptych.training.error_hints import suggest_accumulation, with_image_names, with_resume_command
from diptych.training.loss_tracker import LogRecord
from diptych.training.precompute import with_precomputed
from diptych.training.progress import Show, StepTimer, progress
from diptych.training.tensorboard import TensorBoardLogger

# Returns the scores by metric, the name of the monitored metric, and its value as an error (lower is better).
Validate = Callable[[Method, torch.device], tuple[dict[str, float], str, float]]
STOP_CHECK_EVERY = 10  # steps between all-reduces that ask whether any rank received a signal


def is_stale(best: str, stage_index: int, step: int, age: int) -> bool:
    """Return whether the checkpoint named `best` is at least `age` steps old and of the same stage."""
    best_stage, best_step = checkpoint.parse_name(best)
    return best_stage == stage_index and step - best_step >= age


@dataclass
class Trainer:
    """Trains to the end of the last stage, or until a signal arrives; `stopped` then holds the signal's number."""

    engine: Engine
    batches: Batches
    run: Run
    settings: TrainConfig
    preview: Preview
    console: Console
    evaluation: EvaluateConfig = field(default_factory=EvaluateConfig)
    validate: Validate | None = None  # scores held-out images every `evaluation.eval_every` steps
    provenance: Mapping[str, Any] = field(default_factory=dict)  # what determines the results; saved in checkpoints
    stopped: int | None = None
    callbacks: Sequence[Callback] = ()  # the same on all ranks; called on rank 0

    def __post_init__(self) -> None:
        self.is_main = self.engine.ranks.is_main
        self.log = EventLog(self.run.folder)
        self.checkpoint_manager = CheckpointManager(self.run, 60 * self.settings.checkpoint_minutes)
        self.pending_record: tuple[LogRecord, dict[str, Any]] | None = None  # still being copied from the GPU
        self.show: Show = lambda terms, rate: None
        self.early_stop = False
        board = TensorBoardLogger(self.run.folder / "tensorboard", self.log.tolerate_disk_errors)
        self.hooks = CallbackList([board, *self.callbacks] if self.is_main else [])
        self.losses: Mapping[str, float] = {}  # of the last log record
        self.is_running = False
        self.stop_requested = False  # by a callback

    # Resume

    def restore(self, path: Path, state: State, keep_best: bool = True) -> None:
        """Restore the checkpoint `state` that was read from `path`.

        With `keep_best=False` its best checkpoint is forgotten, because errors are now measured differently.
        Raises CheckpointError if it does not fit, RunError if the folder cannot be written.
        """
        if self.is_main:
            self.checkpoint_manager.prepare()
        self.checkpoint_manager.restore(self.engine, path, state)
        if not keep_best:
            self.checkpoint_manager.best = None
        if self.is_main:
            self.log.forget_after(self.engine.total)

    def save_changes(self, changed: Mapping[str, tuple[Any, Any]]) -> None:
        """Save the restored checkpoint again with the present provenance, and log the changed fields. RunError."""
        if self.is_main and changed:
            self.checkpoint_manager.save(self._state())
            self.log.write("resume", self.engine.stage.name, self.engine.total, changed=dict(changed))

    # Loop

    def train(self) -> None:
        """Train to the end, or to the end of the step in which a signal arrives, then save a checkpoint.

        A checkpoint is also saved where an image becomes unreadable or validation fails, so that no step is lost.
        """
        engine = self.engine
        self.early_stop = self._is_stale()  # a run that early stopping ended, resumed with the same `patience_evals`
        with stop_on_signals(self._stop), progress(self.console, engine) as self.show:
            try:
                self.is_running = True
                self.hooks.on_start(self._context())
                while not self._train_stage() and engine.stage_index + 1 < len(engine.stages):
                    engine.start_stage(engine.stage_index + 1)
            except LoadingError as error:
                self.save()
                workers, folder = self.settings.loaders, self.run.folder
                raise with_resume_command(error, self.batches, engine.total, workers, folder) from error
            except CallbackError:
                self.save()
                raise
            except TrainingError as error:
                raise with_image_names(error, self.batches) from error
            except (ConfigError, DataError, EvaluationError):
                self.save()
                raise
            self.save()
            self.hooks.on_end(self._context())
        in_last_stage = engine.stage_index + 1 == len(engine.stages)
        if self.early_stop or (in_last_stage and engine.step == engine.stage.steps):
            self.stopped = None  # the signal arrived in the last step: training is complete

    def _train_stage(self) -> bool:
        """Train the remaining steps of this stage; return whether training should stop."""
        if self.early_stop:
            return True
        engine, settings = self.engine, self.settings
        self.batches = self.batches.for_stage(engine.stage.name, engine.stage.steps)
        if self.validate and not engine.total:
            self._validate(self.validate)  # scores of the untrained networks; wrong settings fail before training
        timer = StepTimer(engine.step)
        should_stop = False
        stream = self._with_precomputed().stream(
            engine.step,
            engine.stage.steps,
            settings.loaders,
            engine.device.type == "cuda",
            self._log_skipped,
            self._is_interrupted,
        )
        with closing(stream) as batches:  # ends the data workers, whatever ends this block
            for batch in batches:
                self._train_step(batch)
                self.show({}, 0.0)
                self.hooks.on_step(self._context())
                is_last = engine.step == engine.stage.steps
                if engine.step % settings.log_every == 0 or is_last:
                    self._close_record(timer.rate(engine.step))
                    timer = StepTimer(engine.step)
                if engine.step % settings.preview_every == 0 or is_last:
                    self._preview()
                    timer = StepTimer(engine.step)
                if self.validate and (is_last or engine.step % (self.evaluation.eval_every or 1) == 0):
                    self._validate(self.validate)
                    timer = StepTimer(engine.step)
                if self.is_main and self.checkpoint_manager.is_due():
                    self.save(required=False)
                should_stop = self._should_stop(engine.step)
                if should_stop:
                    break
        self._write_record()
        return should_stop or self._is_interrupted()

    def _with_precomputed(self) -> Batches:
        """Return the batches with what the stage computes once per image."""
        engine = self.engine
        batches = with_precomputed(self.batches, engine.stage, engine.device, engine.precision)
        if batches is not self.batches:
            names = ", ".join(engine.stage.precomputed)
            self.console.print(f"{engine.stage.name}: computed once per image: codes of {names}", highlight=False)
        return batches

    def _train_step(self, batch: Batch) -> None:
        """Take one step. If memory runs out, the error names a `grad_accum_steps` that fits."""
        engine = self.engine
        try:
            with engine.ranks.watched(engine.total):
                return engine.train_step(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = (str(error) or type(error).__name__).partition("\n")[0]
        # Outside the `except` block the traceback no longer keeps the tensors of the failed step alive.
        raise TrainingError(
            f"stage {engine.stage.name!r} step {engine.step}: out of memory with "
            f"batch_size={self.settings.batch_size} grad_accum_steps={self.settings.grad_accum_steps} ({reason}). "
            f"Nothing of this step is saved. {suggest_accumulation(engine, batch, self.run.folder)}"
        )

    # Log, previews, validation, checkpoints

    def _close_record(self, rate: float) -> None:
        """Close a record of the log. On a GPU it is written one record later, so that no step waits for the device."""
        engine = self.engine
        if engine.device.type == "cuda":
            self._write_record()
        peak = peak_gib(engine.device)
        values = {
            "lr": {name: optimizer.lr for name, optimizer in engine.optimizers.items()},
            "steps_per_second": round(rate, 3),
            "samples_per_second": round(rate * self.settings.batch_size, 3),
            **({} if peak is None else {"peak_gib": round(peak, 3)}),
        }
        record = engine.loss_tracker.close()
        self.pending_record = record, {"stage": engine.stage.name, "step": engine.total, **values}
        if engine.device.type != "cuda":
            self._write_record()

    def _write_record(self) -> None:
        """Write the pending record, if there is one. TrainingError if a value in it is not finite."""
        if self.pending_record is None:
            return
        (record, values), self.pending_record = self.pending_record, None
        record.verify(values["stage"])
        terms = record.means()
        if self.is_main:
            self.losses = terms
            event = self.log.write("step", terms=terms, **values)
            self.hooks.on_log(self._context(event=event))
            self.show(terms, values["steps_per_second"])

    def _log_skipped(self, reason: str) -> None:
        """Log that an image could not be read and is replaced by another one."""
        if self.is_main:
            self._log("skipped", why=reason)
            self.console.print(f"skipped, replaced by another image: {reason}", highlight=False, soft_wrap=True)

    def _preview(self) -> None:
        """Write a sample grid; with target images, keep the checkpoint of the lowest error unless metrics decide."""
        self._write_record()
        if not self.is_main:
            return
        engine = self.engine
        engine.verify()
        try:
            with engine.ema_weights.applied_to(engine.method):
                image, errors = self.preview.render(engine.method, engine.device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            warnings.warn(f"step {engine.total}: out of memory, preview skipped; training goes on", stacklevel=2)
            return
        name = f"{engine.stage_index}-{engine.step:08d}.png"
        with self.log.tolerate_disk_errors(self.run.previews), atomic_write(self.run.previews / name) as part:
            image.save(part, "PNG")
        self._log("preview", error=errors, file=name)
        self.hooks.on_preview(self._context(preview=image, errors=errors))
        mean = HELD_OUT_ERROR.function(list(errors.values())) if errors else None
        if mean is not None and not self.validate and self.checkpoint_manager.is_better(mean):
            self.save(mean, required=False)

    def _validate(self, validate: Validate) -> None:
        """Score held-out images; keep the best checkpoint by the monitored metric, and decide on early stopping."""
        self._write_record()
        if not self.is_main:
            return
        engine = self.engine
        engine.verify()
        with engine.ema_weights.applied_to(engine.method):
            scores, monitor, error = validate(engine.method, engine.device)
        self._log("evaluation", scores=scores, chosen=monitor)
        self.hooks.on_evaluation(self._context(scores=scores))
        if self.checkpoint_manager.is_better(error):
            self.save(error, required=False)
        self.early_stop = self._is_stale()
        if self.early_stop and self.checkpoint_manager.best:
            since = checkpoint.parse_name(self.checkpoint_manager.best[0])[1]
            self.console.print(f"early stop: {monitor} has not improved since step {since}", highlight=False)

    def _is_stale(self) -> bool:
        """Return whether the best checkpoint is older than `patience_evals` evaluations."""
        best = self.checkpoint_manager.best
        age = (self.evaluation.patience_evals or 0) * (self.evaluation.eval_every or 0)
        return bool(best and age and is_stale(best[0], self.engine.stage_index, self.engine.step, age))

    def save(self, error: float | None = None, required: bool = True) -> None:
        """Save a checkpoint of this step, with its held-out error if known. The state is the same on all ranks.

        If not `required`, a failed write is only a warning, up to a number of failures in a row. RunError.
        """
        engine = self.engine
        if self.is_main and self.checkpoint_manager.should_save(engine.stage_index, engine.step, required):
            self._write_record()  # a later checkpoint does not contain its sums
            engine.verify()
            self.checkpoint_manager.save(self._state(), error, required)
            name = checkpoint.file_name(engine.stage_index, engine.step)
            if self.is_running and self.checkpoint_manager.last == name:
                self.hooks.on_checkpoint(self._context(checkpoint=self.run.checkpoints / name))

    def _state(self) -> State:
        tensors, meta = self.engine.state()
        return tensors, {**meta, "made": dict(self.provenance)}

    # Callbacks

    def _log(self, kind: str, **values: Any) -> None:
        """Write an event of this step to the log."""
        event = self.log.write(kind, self.engine.stage.name, self.engine.total, **values)
        self.hooks.on_log(self._context(event=event))

    def _context(self, **details: Any) -> TrainingContext:
        """Return what callbacks get at this moment."""
        stop = partial(setattr, self, "stop_requested", True)
        return context_of(self.engine, self.run.folder, self.losses, stop, **details)

    # Stopping

    def _stop(self, number: int) -> None:
        """Remember the signal. Called inside the signal handler."""
        self.stopped = number
        with suppress(RuntimeError):  # Python refuses to print while another print is interrupted
            self.console.print("finishing this step and saving; send the signal once more to stop at once")

    def _is_interrupted(self) -> bool:
        """Return whether to stop without asking other ranks, which is possible only for a single process."""
        return self.stopped is not None and self.engine.ranks.world_size == 1

    def _should_stop(self, step: int) -> bool:
        """Return whether to stop: the same answer on all ranks."""
        ranks = self.engine.ranks
        if ranks.world_size > 1 and step % STOP_CHECK_EVERY:
            return False
        with ranks.watched(self.engine.total):
            if self.evaluation.patience_evals and ranks.any(self.early_stop):
                self.early_stop = True
                return True
            if self.callbacks and ranks.any(self.stop_requested):
                return True
            if not ranks.any(self.stopped is not None):
                return False
        self.stopped = self.stopped or signal.SIGTERM
        return True
