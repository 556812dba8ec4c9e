"""An exclusive lock on an open file."""

import os
from typing import IO

LOCKED_BYTE = 2**30  # on Windows, far behind the end of the file: others may not read a locked byte


def lock_file(file: IO[str]) -> None:
    """Lock an open file for this process, without waiting; the lock ends with the file or the process.

    BlockingIOError or PermissionError if another process has the lock, other OSErrors if the file system has no locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        os.lseek(file.fileno(), LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    else:  # `lockf`, as a lock of `flock` would belong to the open file, which data workers inherit
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
