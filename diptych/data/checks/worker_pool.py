"""Inspect files in worker processes, each with one file at a time: a crash or a hang affects only that file."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from typing import IO

from diptych.data.checks.inspect_file import READY, FileInfo
from diptych.errors import DataError

COMMAND = (sys.executable, "-P", "-m", "diptych.data.checks.inspect_file")
TIMEOUT = 60.0  # seconds for one file
CRASHED = FileInfo(problem="crashed the decoder; export it again as PNG, or remove it")
HUNG = FileInfo(problem=f"took longer than {TIMEOUT:g} s to decode; export it again as PNG, or remove it")


class Worker:
    """A process of `COMMAND` and the file it is inspecting; a process that failed is replaced by a new one.

    A thread waits for its answers and releases `news` for each: Windows cannot wait for several pipes at once.
    """

    def __init__(self, news: Semaphore) -> None:
        self.news, self.key, self.deadline = news, "", 0.0
        self._start()

    def _start(self) -> None:
        search_path = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders written in C print there
            env={**os.environ, "PYTHONPATH": os.pathsep.join(search_path), "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.requests, self.output = self.process.stdin, self.process.stdout
        is_ready = self.output.readline().decode().strip() == READY
        self.answers: SimpleQueue[bytes] = SimpleQueue()
        self.reader = Thread(target=_forward, args=(self.output, self.answers, self.news), daemon=True)
        self.reader.start()
        if not is_ready:
            self.stop()
            raise DataError(f"cannot check images: {' '.join(COMMAND)} does not start")

    def send_next(self, queue: Iterator[tuple[str, str]]) -> bool:
        """Send the next file of the queue to the process. Returns False if the queue is empty."""
        for self.key, path in queue:
            self.deadline = time.monotonic() + TIMEOUT
            with suppress(OSError):  # the process is dead, which `result` detects
                self.requests.write(json.dumps(path).encode() + b"\n")
                self.requests.flush()
            return True
        return False

    def result(self) -> FileInfo | None:
        """Return the answer, a problem if the process died or timed out, or None if it is still working."""
        try:
            return FileInfo(**json.loads(self.answers.get_nowait()))
        except Empty:
            if time.monotonic() <= self.deadline:
                return None
            failure = HUNG
        except (ValueError, TypeError):  # the process died before the end of the line
            failure = CRASHED
        self.stop()
        self._start()
        return failure

    def stop(self) -> None:
        """Kill the process and close the connection to it."""
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.output.close()
        with suppress(OSError):
            self.requests.close()


def _forward(output: IO[bytes], answers: "SimpleQueue[bytes]", news: Semaphore) -> None:
    """Put each line that a process writes into the queue, and an empty one when it has ended."""
    for line in itertools.chain(output, [b""]):
        answers.put(line)
        news.release()


def inspect_files(paths: Mapping[str, str], processes: int) -> Iterator[tuple[str, FileInfo]]:
    """Yield (key, info) of each path, in the order of completion. Raises DataError if no process can be started."""
    queue, news = iter(paths.items()), Semaphore(0)
    workers: list[Worker] = []
    try:
        while len(workers) < min(processes, len(paths)):
            workers.append(Worker(news))
        busy = [worker for worker in workers if worker.send_next(queue)]
        while busy:
            timeout = max(0.0, min(worker.deadline for worker in busy) - time.monotonic()) + 0.01
            news.acquire(timeout=timeout)
            for worker in list(busy):
                info = worker.result()
                if info is not None:
                    yield worker.key, info
                    if not worker.send_next(queue):
                        busy.remove(worker)
    finally:
        for worker in workers:
            worker.stop()
