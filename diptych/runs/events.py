"""The event log: one JSON object per line in `events.jsonl`."""

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diptych.system.atomic_files import write_text

Event = dict[str, Any]


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
        self.path = folder / "events.jsonl"
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

    def write(self, kind: str, stage: str, step: int, **values: Any) -> Event:
        """Append an event and return it; `step` counts over all stages."""
        event = {"event": kind, "stage": stage, "step": step, "time": round(time.time(), 3), **values}
        with self.tolerate_disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
        return event
