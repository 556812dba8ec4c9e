"""Files examined by worker processes, each of which has one file at a time: a crash or a hang costs that file alone."""

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
PATIENCE = 60.0  # seconds for one file
CRASHED = FileInfo(problem="crashed the decoder; export it again as PNG, or remove it")
HUNG = FileInfo(problem=f"took longer than {PATIENCE:g} s to decode; export it again as PNG, or remove it")


class Worker:
    """A process of `COMMAND`, and the file that it has; a new process takes the place of one that failed."""

    def __init__(self) -> None:
        self.key, self.until = "", 0.0
        self._start()

    def _start(self) -> None:
        places = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders written in C talk there
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.requests, self.answers = self.process.stdin, self.process.stdout
        if self.answers.readline().decode().strip() != READY:
            self.stop()
            raise DataError(f"cannot check images: {' '.join(COMMAND)} does not start")

    def given(self, waiting: Iterator[tuple[str, str]]) -> bool:
        """Take the next of `waiting`; False if there is none."""
        for self.key, path in waiting:
            self.until = time.monotonic() + PATIENCE
            with suppress(BrokenPipeError):  # then there is no answer either
                self.requests.write(json.dumps(path).encode() + b"\n")
                self.requests.flush()
            return True
        return False

    def info(self, ready: bool) -> FileInfo | None:
        """The answer if it is there; the verdict if the process is gone or late; None if it is still at work."""
        if ready:
            try:
                return FileInfo(**json.loads(self.answers.readline()))
            except (ValueError, TypeError):  # the process ended in the middle of a line, or before
                verdict = CRASHED
        elif time.monotonic() > self.until:
            verdict = HUNG
        else:
            return None
        self.stop()
        self._start()
        return verdict

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.answers.close()
        with suppress(BrokenPipeError):
            self.requests.close()


def inspect_files(paths: Mapping[str, str], processes: int) -> Iterator[tuple[str, FileInfo]]:
    """(key, finding) of each path, in the order in which they come. Raises DataError if no process can be started."""
    waiting = iter(paths.items())
    team: list[Worker] = []
    try:
        while len(team) < min(processes, len(paths)):
            team.append(Worker())
        busy = [worker for worker in team if worker.given(waiting)]
        while busy:
            patience = max(0.0, min(worker.until for worker in busy) - time.monotonic()) + 0.01
            ready = wait([worker.answers.fileno() for worker in busy], patience)
            for worker in list(busy):
                if (finding := worker.info(worker.answers.fileno() in ready)) is not None:
                    yield worker.key, finding
                    if not worker.given(waiting):
                        busy.remove(worker)
    finally:
        for worker in team:
            worker.stop()
