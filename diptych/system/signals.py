"""The signals that ask a process to stop."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # Ctrl-C, `kill`, and what clusters send before the end


@contextmanager
def stop_on_signals(stop: Callable[[int], None]) -> Iterator[None]:
    """Within, the first of the STOPPING signals calls `stop`; a second one acts as it always does.

    One that this process was started to ignore, as Ctrl-C is for what a script runs in the background, stays ignored.
    """
    before: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        stop(number)

    try:
        for number in (each for each in STOPPING if signal.getsignal(each) is not signal.SIG_IGN):
            before[number] = signal.signal(number, handle)
    except ValueError:  # only the main thread may listen to signals
        pass
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
