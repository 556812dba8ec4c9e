"""Signals that ask a process to stop."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Ctrl-C, `kill`, a cluster's warning of the end, and Ctrl-Break of Windows. Each system has some of them.
NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGBREAK")
STOPPING = tuple(vars(signal)[name] for name in NAMES if hasattr(signal, name))
# SIGTERM ends a process of Windows at once. Ctrl-Break can be handled, and reaches a process group alone.
STOP_REQUEST = getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)
OWN_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # `creationflags` of a process that can be stopped


@contextmanager
def stop_on_signals(stop: Callable[[int], None]) -> Iterator[None]:
    """Call `stop(number)` on the first stop signal inside the block; a second signal has its usual effect.

    Ignored signals stay ignored: a shell starts background processes with Ctrl-C ignored.
    """
    before: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        stop(number)

    try:
        for number in STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
    except ValueError:  # only the main thread can handle signals
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def block_stop_signals() -> Iterator[None]:
    """Deliver stop signals only after the block; processes started in it inherit this. No effect on Windows."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def ignore_stop_signals() -> None:
    """Ignore stop signals in this process, which may have been started in `block_stop_signals`."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
