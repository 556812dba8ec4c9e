"""The TensorBoard logger: a callback that writes each log record as scalars, where `tensorboard` is installed."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from diptych.training.callbacks import Callback, TrainingContext

GROUPS = ("terms", "error", "scores", "lr")  # fields of an event that hold numbers by name


class TensorBoardLogger(Callback):
    """Writes the numbers of each event to `folder` for TensorBoard (`pip install diptych[board]`)."""

    def __init__(self, folder: Path, guard: Callable[[Path], AbstractContextManager[None]]) -> None:
        """`guard` wraps each access to the disk: an OSError must not end the training."""
        self.folder, self.guard = folder, guard
        self.writer: Any = None

    def on_log(self, context: TrainingContext) -> None:
        if find_spec("tensorboard") is None:
            return
        with self.guard(self.folder):
            if self.writer is None:
                from torch.utils.tensorboard import SummaryWriter

                self.writer = SummaryWriter(str(self.folder), purge_step=context.event["step"])
            for group in GROUPS:
                for name, value in context.event.get(group, {}).items():
                    self.writer.add_scalar(f"{group}/{name}", value, context.event["step"])

    def on_end(self, context: TrainingContext) -> None:
        if self.writer is not None:
            with self.guard(self.folder):
                self.writer.close()
