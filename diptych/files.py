"""Files that are either whole or not there: written beside, synced, renamed, and the folder synced too."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART = ".part"


@contextmanager
def whole(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yields a path to write to; when the block ends without an error it becomes `path`, else nothing changes.

    `durable` waits for the disk, so that not even a power loss undoes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        part.touch()
        mode = part.stat().st_mode  # as the umask has it; some writers make files of their own, for the owner alone
        yield part
        part.chmod(mode)
        if durable:
            sync(part)
        os.replace(part, path)
        if durable:
            sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Ask the system to put a file, or a folder's list of names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
