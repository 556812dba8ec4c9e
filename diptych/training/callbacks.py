"""Callbacks: user code that a training calls after steps, log records, previews, evaluations and checkpoints.

class PrintLosses(diptych.Callback):
    def on_log(self, context):
        print(context.total_steps, context.losses)

diptych.train("pix2pix", data="facades", out="runs/facades", callbacks=[PrintLosses()])
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from diptych.contract import Method
from diptych.errors import CallbackError, DiptychError
from diptych.training.engine import Engine


@dataclass(frozen=True)
class TrainingContext:
    """The state of a training at the moment a callback is called."""

    folder: Path  # the run folder
    method: Method  # its networks are attributes, such as `context.method.G`
    device: torch.device
    stage: str
    step: int  # steps of this stage taken so far
    stage_steps: int  # steps of this stage in total
    total_steps: int  # steps of all stages taken so far
    losses: Mapping[str, float] = field(default_factory=dict)  # weighted loss terms of the last log record, by name
    event: Mapping[str, Any] = field(default_factory=dict)  # the line of `events.jsonl` that was just written
    preview: Image.Image | None = None  # for `on_preview`: the sample grid
    errors: Mapping[str, float] = field(default_factory=dict)  # for `on_preview`: held-out error of each route
    scores: Mapping[str, float] = field(default_factory=dict)  # for `on_evaluation`: value of each metric
    checkpoint: Path | None = None  # for `on_checkpoint`: the file that was written
    stop: Callable[[], None] = lambda: None  # ends the training after this step, with a checkpoint


def context_of(
    engine: Engine, folder: Path, losses: Mapping[str, float], stop: Callable[[], None], **details: Any
) -> TrainingContext:
    """Return the context of the engine's present step; `details` are the fields of the hook."""
    stage = engine.stage
    position = (stage.name, engine.step, stage.steps, engine.total)
    return TrainingContext(folder, engine.method, engine.device, *position, losses, stop=stop, **details)


class Callback:
    """Base class of callbacks. Override the hooks you need; each gets a `TrainingContext`.

    Callbacks run in the training process, of several ranks in the first one only. They must not change the networks
    or draw from PyTorch's global random generator on the CPU without restoring it: exact resume depends on both.
    An exception in a hook ends the training: a checkpoint is saved and CallbackError names the callback.
    """

    def on_start(self, context: TrainingContext) -> None:
        """Called before the first step of a new or resumed training."""

    def on_step(self, context: TrainingContext) -> None:
        """Called after each optimiser step. `context.losses` are those of the last log record: see `log_every`."""

    def on_log(self, context: TrainingContext) -> None:
        """Called after each line of `events.jsonl`, which is `context.event`. `event["event"]` is its kind."""

    def on_preview(self, context: TrainingContext) -> None:
        """Called after each sample grid of held-out images: `context.preview` and `context.errors`."""

    def on_evaluation(self, context: TrainingContext) -> None:
        """Called after each evaluation of held-out images (`eval_every`): `context.scores`."""

    def on_checkpoint(self, context: TrainingContext) -> None:
        """Called after each checkpoint that was written: `context.checkpoint`."""

    def on_end(self, context: TrainingContext) -> None:
        """Called once when the training ends or is interrupted, after the last checkpoint; not after an error."""


class CallbackList(Callback):
    """Calls several callbacks in order. An exception becomes a CallbackError that names the callback and the hook."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = tuple(callbacks)

    def on_start(self, context: TrainingContext) -> None:
        self._call("on_start", lambda callback: callback.on_start, context)

    def on_step(self, context: TrainingContext) -> None:
        self._call("on_step", lambda callback: callback.on_step, context)

    def on_log(self, context: TrainingContext) -> None:
        self._call("on_log", lambda callback: callback.on_log, context)

    def on_preview(self, context: TrainingContext) -> None:
        self._call("on_preview", lambda callback: callback.on_preview, context)

    def on_evaluation(self, context: TrainingContext) -> None:
        self._call("on_evaluation", lambda callback: callback.on_evaluation, context)

    def on_checkpoint(self, context: TrainingContext) -> None:
        self._call("on_checkpoint", lambda callback: callback.on_checkpoint, context)

    def on_end(self, context: TrainingContext) -> None:
        self._call("on_end", lambda callback: callback.on_end, context)

    def _call(
        self, name: str, hook: Callable[[Callback], Callable[[TrainingContext], None]], context: TrainingContext
    ) -> None:
        for callback in self.callbacks:
            try:
                hook(callback)(context)
            except DiptychError as error:
                raise CallbackError(_describe(callback, name, context, str(error)), context.step) from error
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                raise CallbackError(_describe(callback, name, context, reason), context.step) from error


def _describe(callback: Callback, name: str, context: TrainingContext, reason: str) -> str:
    return (
        f"stage {context.stage!r} step {context.step}: callback {type(callback).__name__}.{name} failed ({reason}); "
        f"a checkpoint is saved, `diptych resume {context.folder}` continues from it"
    )
