"""Kills a Ray actor that works for a command."""

import os
import signal
import time
from pathlib import Path


def kill_actor(pid: int, seconds: float = 240) -> int:
    """Kill an actor of the cluster that the process started as soon as there is one, and return its number."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for child in descendants(pid):
            if "MapWorker" in command_of(child):
                os.kill(child, signal.SIGKILL)
                return child
        time.sleep(0.02)
    raise AssertionError("no actor was started")


def descendants(pid: int) -> list[int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended
                continue
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
