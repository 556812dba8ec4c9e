"""Inspect files in worker processes, each with one file at a time: a crash or a hang affects only that file."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

from diptych.data.checks.inspect_file import READY, FileInfo
from diptych.errors import DataError

COMMAND = (sys.executable, "-P", "-m", "diptych.data.checks.inspect_file")
TIMEOUT = 60.0  # seconds for one file
CRASHED = FileInfo(problem="crashed the decoder; export it again as PNG, or remove it")
HUNG = FileInfo(problem=f"took longer than {TIMEOUT:g} s to decode; export it again as PNG, or remove it")


class Worker:
    """A process of `COMMAND` and the file it is inspecting; a process that failed is replaced by a new one."""

    def __init__(self) -> None:
        self.key, self.deadline = "", 0.0
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
        self.requests, self.answers = self.process.stdin, self.process.stdout
        if self.answers.readline().decode().strip() != READY:
            self.stop()
            raise DataError(f"cannot check images: {' '.join(COMMAND)} does not start")

    def send_next(self, queue: Iterator[tuple[str, str]]) -> bool:
        """Send the next file of the queue to the process. Returns False if the queue is empty."""
        for self.key, path in queue:
            self.deadline = time.monotonic() + TIMEOUT
            with suppress(BrokenPipeError):  # the process is dead, which `result` detects
                self.requests.write(json.dumps(path).encode() + b"\n")
                self.requests.flush()
            return True
        return False

    def result(self, ready: bool) -> FileInfo | None:
        """Return the answer if `ready`; a problem if the process died or timed out; None if it is still working."""
        if ready:
            try:
                return FileInfo(**json.loads(self.answers.readline()))
            except (ValueError, TypeError):  # the process died before the end of the line
                failure = CRASHED
        elif time.monotonic() > self.deadline:
            failure = HUNG
        else:
            return None
        self.stop()
        self._start()
        return failure

    def stop(self) -> None:
        """Kill the process and close the connection to it."""
        self.process.kill()
        self.process.wait()
        self.answers.close()
        with suppress(BrokenPipeError):
            self.requests.close()


def inspect_files(paths: Mapping[str, str], processes: int) -> Iterator[tuple[str, FileInfo]]:
    """Yield (key, info) of each path, in the order of completion. Raises DataError if no process can be started."""
    queue = iter(paths.items())
    workers: list[Worker] = []
    try:
        while len(workers) < min(processes, len(paths)):
            workers.append(Worker())
        busy = [worker for worker in workers if worker.send_next(queue)]
        while busy:
            timeout = max(0.0, min(worker.deadline for worker in busy) - time.monotonic()) + 0.01
            ready = wait([worker.answers.fileno() for worker in busy], timeout)
            for worker in list(busy):
                info = worker.result(worker.answers.fileno() in ready)
                if info is not None:
                    yield worker.key, info
                    if not worker.send_next(queue):
                        busy.remove(worker)
    finally:
        for worker in workers:
            worker.stop()
