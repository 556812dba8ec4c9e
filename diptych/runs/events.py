"""The log: one JSON object a line in `events.jsonl`, and the same numbers for TensorBoard where it is installed."""

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from diptych.system.atomic_files import write_text

Event = dict[str, Any]


def read_events(path: Path) -> Iterator[Event]:
    """The events of a run in order; what a kill cut short or a disk damaged is passed over."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and isinstance(event.get("step"), int):
            yield event


class EventLog:
    """Appends events. A disk that is full or read-only costs what was to be logged, never the training."""

    def __init__(self, folder: Path) -> None:
        self.path, self.board_path = folder / "events.jsonl", folder / "tensorboard"
        self.board: Any = None
        self.failed = False

    @contextmanager
    def tried(self, path: Path) -> Iterator[None]:
        """What is done inside may fail for want of a disk: one warning, then silence."""
        try:
            yield
        except OSError as error:
            if not self.failed:
                warnings.warn(f"{path}: cannot be written ({error}); training goes on without it", stacklevel=4)
            self.failed = True

    def forget_after(self, step: int) -> None:
        """Drop what an interrupted run logged beyond its last checkpoint: those steps will be taken again."""
        with self.tried(self.path):
            kept = [event for event in read_events(self.path) if event["step"] <= step]
            write_text(self.path, "".join(json.dumps(event) + "\n" for event in kept))

    def write(self, kind: str, stage: str, step: int, **values: Any) -> None:
        """One event; `step` counts through all stages."""
        event = {"event": kind, "stage": stage, "step": step, "time": round(time.time(), 3), **values}
        with self.tried(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
        with self.tried(self.board_path):
            self._draw(event)

    def close(self) -> None:
        if self.board is not None:
            with self.tried(self.board_path):
                self.board.close()

    def _draw(self, event: Event) -> None:
        if self.board is None:
            if find_spec("tensorboard") is None:  # an extra: `pip install diptych[board]`
                return
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(self.board_path), purge_step=event["step"])
        for group in ("terms", "error", "scores", "lr"):
            for name, value in event.get(group, {}).items():
                self.board.add_scalar(f"{group}/{name}", value, event["step"])
