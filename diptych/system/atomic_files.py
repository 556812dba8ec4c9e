"""Files that are either whole or not there: written beside, synced, renamed, and the folder synced too."""

import math
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PART = ".part"
PATIENCE = 30.0  # seconds that a server may be silent


@contextmanager
def atomic_write(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yields a path to write to; when the block ends without an error it becomes `path`, else nothing changes.

    `durable` waits for the disk, so that not even a power loss undoes it.
    """
    make_folder(path.parent)
    room = path.with_name(f".{path.name}.{os.getpid()}{PART}")  # a folder, as some writers make files beside theirs
    part = room / path.name
    try:
        room.mkdir(exist_ok=True)
        part.touch()
        mode = part.stat().st_mode  # as the umask has it; some writers make files for their owner alone
        yield part
        part.chmod(mode)
        if durable:
            sync(part)
        os.replace(part, path)
        if durable:
            sync(path.parent)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def make_folder(path: Path) -> None:
    """The folder and those above it, so that not even a power loss undoes it. OSError."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync(each.parent)


def write_probe(folder: Path) -> None:
    """Write, sync, rename and remove a small file, as `atomic_write` does. An OSError here is one that an hour of work is
    spared: no permission, a disk that is full, a network folder that cannot rename or replace.
    """
    probe = folder / f".probe.{os.getpid()}{PART}"
    try:
        for text in ("new", "replaced"):
            write_text(probe, text)
    finally:
        probe.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half written in a folder. What cannot be removed stays.

    What is not named as `atomic_write` names it is none of ours. What belongs to a process that lives is left alone, for an
    hour: after that its number is taken for one that was given out anew.
    """
    for room in folder.glob(f".*{PART}"):
        pid = room.name.removesuffix(PART).rpartition(".")[2]
        if not pid.isdecimal() or (int(pid) != os.getpid() and _lives(int(pid)) and _age(room) < 3600):
            continue
        shutil.rmtree(room, ignore_errors=True)
        with suppress(OSError):
            room.unlink(missing_ok=True)  # a file, as Diptych once wrote them


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _age(path: Path) -> float:
    """Seconds since it was last written to, or since it vanished: endless."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return math.inf


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Ask the system to put a file, or a folder's list of names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def download_timeout() -> Iterator[None]:
    """Within it a download from a server that falls silent ends with an OSError; libraries would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
