"""The event log: one JSON object per line in `events.jsonl`, and the same numbers for TensorBoard if installed."""

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
TENSORBOARD_GROUPS = ("terms", "error", "scores", "lr")


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of a run in order; incomplete and damaged lines are skipped."""
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
    """Appends events. If the disk is full or read-only, events are lost with one warning; training goes on."""

    def __init__(self, folder: Path) -> None:
        self.path, self.board_path = folder / "events.jsonl", folder / "tensorboard"
        self.board: Any = None
        self.failed = False

    @contextmanager
    def tolerate_disk_errors(self, path: Path) -> Iterator[None]:
        """Turn the first OSError of this log into a warning, and ignore later ones."""
        try:
            yield
        except OSError as error:
            if not self.failed:
                warnings.warn(f"{path}: cannot be written ({error}); training goes on without it", stacklevel=4)
            self.failed = True

    def forget_after(self, step: int) -> None:
        """Drop events after the last checkpoint: those steps will be taken again."""
        with self.tolerate_disk_errors(self.path):
            events = [event for event in read_events(self.path) if event["step"] <= step]
            write_text(self.path, "".join(json.dumps(event) + "\n" for event in events))

    def write(self, kind: str, stage: str, step: int, **values: Any) -> None:
        """Append an event; `step` counts over all stages."""
        event = {"event": kind, "stage": stage, "step": step, "time": round(time.time(), 3), **values}
        with self.tolerate_disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
        with self.tolerate_disk_errors(self.board_path):
            self._write_to_tensorboard(event)

    def close(self) -> None:
        """Flush and close the TensorBoard writer."""
        if self.board is not None:
            with self.tolerate_disk_errors(self.board_path):
                self.board.close()

    def _write_to_tensorboard(self, event: Event) -> None:
        if self.board is None:
            if find_spec("tensorboard") is None:  # an extra: `pip install diptych[board]`
                return
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(self.board_path), purge_step=event["step"])
        for group in TENSORBOARD_GROUPS:
            for name, value in event.get(group, {}).items():
                self.board.add_scalar(f"{group}/{name}", value, event["step"])
