"""Signals that ask a process to stop."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # Ctrl-C, `kill`, and a cluster's warning of the end


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
