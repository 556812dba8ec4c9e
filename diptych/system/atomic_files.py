"""Files that are either complete or absent: written to a temporary path, synced, renamed, and the folder synced."""

import math
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

IS_WINDOWS = os.name == "nt"
PART = ".part"  # suffix of temporary folders
DOWNLOAD_TIMEOUT = 30.0  # seconds without data from a server


@contextmanager
def atomic_write(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes `path` if the block ends without an error.

    `durable` waits until the disk has it, so that a power loss cannot undo it.
    """
    make_folder(path.parent)
    folder = path.with_name(f".{path.name}.{os.getpid()}{PART}")  # a folder, as some writers create several files
    part = folder / path.name
    try:
        folder.mkdir(exist_ok=True)
        part.touch()
        mode = part.stat().st_mode  # as the umask sets it; some writers create files that only their owner can read
        yield part
        part.chmod(mode)
        if durable:
            sync(part)
        os.replace(part, path)
        if durable:
            sync(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Create a folder and its parents, and sync them. OSError."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder.parent)


def write_probe(folder: Path) -> None:
    """Write, sync, rename, replace and remove a small file, as `atomic_write` does.

    Raises OSError where saving would fail later: no permission, a full disk, a network folder without renaming.
    """
    probe = folder / f".probe.{os.getpid()}{PART}"
    try:
        for text in ("new", "replaced"):
            write_text(probe, text)
    finally:
        probe.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary folders of `atomic_write` whose process was killed. What cannot be removed stays.

    A temporary folder of a running process is kept for an hour; after that its process id is taken to be reused.
    """
    for path in folder.glob(f".*{PART}"):
        pid = path.name.removesuffix(PART).rpartition(".")[2]
        if not pid.isdecimal():
            continue
        if int(pid) != os.getpid() and _is_running(int(pid)) and _seconds_since_change(path) < 3600:
            continue
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            path.unlink(missing_ok=True)  # former versions wrote a file instead of a folder


def _is_running(pid: int) -> bool:
    if IS_WINDOWS:  # `os.kill(pid, 0)` would send Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _seconds_since_change(path: Path) -> float:
    """Return the seconds since the path was modified; infinity if it has vanished."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return math.inf


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically. OSError."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Wait until a file, or the list of names of a folder, is on the disk (fsync). Windows has it for files alone."""
    if IS_WINDOWS and path.is_dir():  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDWR if IS_WINDOWS else os.O_RDONLY)  # Windows only syncs files opened to write
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def download_timeout() -> Iterator[None]:
    """Let a download inside the block fail with OSError if the server is silent; libraries wait without limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
