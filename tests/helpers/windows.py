"""Takes from a process what Windows does not have: modules, functions and signals of POSIX, fork, sync of folders.

`hiding` is the environment of a process from which they are hidden.
"""

import multiprocessing
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace


def hiding(folder):
    """Return the environment of a process that hides them, and whose processes hide them."""
    (folder / "sitecustomize.py").write_text("import windows\n\nwindows.hide()\n", encoding="utf-8")
    paths = [folder, Path(__file__).parent, Path(__file__).parents[2]]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}


def hide():
    """Hide them in this process, before it imports anything else. Nothing happens on Windows itself."""
    if sys.platform == "win32":
        return
    import fcntl
    import subprocess  # noqa: F401  (it takes a system with msvcrt for Windows)

    def locking(handle, mode, count):  # fails with PermissionError on Windows
        assert mode == 2, "a lock that does not wait"
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, count, 0, os.SEEK_CUR)
        except OSError as error:
            raise PermissionError(*error.args) from error

    sys.modules.update(fcntl=None, resource=None, msvcrt=SimpleNamespace(locking=locking, LK_NBLCK=2))
    for module, names in (
        (os, ("memfd_create", "sysconf", "sched_getaffinity")),
        (signal, ("SIGUSR1", "SIGXCPU", "SIGHUP", "pthread_sigmask")),
    ):
        for name in names:
            vars(module).pop(name, None)
    multiprocessing.set_start_method("spawn", force=True)
    opened = os.open

    def open_file(path, flags, *arguments, **names):
        if flags & os.O_ACCMODE == os.O_RDONLY and os.path.isdir(path) and not flags & os.O_DIRECTORY:
            raise PermissionError(13, "Permission denied", path)
        return opened(path, flags, *arguments, **names)

    os.open = open_file
    from diptych.system import atomic_files  # without torch

    atomic_files.IS_WINDOWS = True
