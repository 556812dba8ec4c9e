"""Data worker processes: each loads every n-th batch ahead of the step, and hands it over in anonymous memory.

The memory is a file without a name, whose handle goes through the worker's own connection (memfd on Linux). Nothing is
shared between workers, no queue and no lock, and /dev/shm is not used: a worker that is killed at any moment leaves
nothing behind and blocks nobody. Its connection ends, which the trainer sees at once.
"""

import mmap
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, BinaryIO

import torch
from torch import Tensor

from diptych.errors import DiptychError, LoadingError

Tensors = dict[str, Tensor]
Load = Callable[[int], tuple[Tensors, Any]]  # the batch of a step, and a note about it that can be pickled
Layout = list[tuple[str, torch.dtype, torch.Size, int]]  # name, dtype, shape, offset in bytes
AHEAD = 4  # batches that each worker loads ahead
ALIGNMENT = 64  # bytes, as torch aligns its own tensors
POLL = 0.1  # seconds between looks whether to stop, while a batch is awaited
END = 5.0  # seconds for a process to end
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # often sent to the whole group; for the trainer alone
FEWER = "fewer workers= need less memory, and workers=0 loads in the training process itself"


def load_ahead(
    load: Load, start: int, stop: int, workers: int, interrupted: Callable[[], bool] = lambda: False
) -> Generator[tuple[Tensors, Any], None, None]:
    """Yield `load(step)` of the steps `start` to `stop - 1` in order, loaded ahead by `workers` processes.

    Ends early where `interrupted` turns true while a batch is awaited. Errors that `load` raises are raised here:
    a DiptychError as it is, any other as a LoadingError; so is a worker that was killed.
    """
    if not workers:
        for step in range(start, stop):
            yield _loaded(load, step)
        return
    team: list[_Worker] = []
    try:
        for _ in range(min(workers, stop - start)):
            team.append(_Worker(load, [worker.connection for worker in team]))
        for step in range(start, min(stop, start + AHEAD * len(team))):
            team[(step - start) % len(team)].request(step)
        for step in range(start, stop):
            worker = team[(step - start) % len(team)]
            while not worker.answers():
                for each in team:
                    each.check_alive()
                if interrupted():
                    return
            batch = worker.receive()
            if step + AHEAD * len(team) < stop:
                worker.request(step + AHEAD * len(team))
            yield batch
    finally:
        for worker in team:
            worker.end()


class _Worker:
    """A worker process, seen from the training process."""

    def __init__(self, load: Load, others: Sequence[Connection]) -> None:
        """`others` are the connections to the workers before. LoadingError if no process can be started."""
        self.connection, theirs = Pipe()
        self.process = Process(target=_work, args=(load, theirs, [*others, self.connection]), daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # until the worker ignores them
        try:
            self.process.start()
        except OSError as error:
            self.connection.close()
            raise LoadingError(f"no data worker can be started ({error}): {FEWER}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()

    def request(self, step: int) -> None:
        with suppress(OSError):  # it is dead, which `receive` tells
            self.connection.send(step)

    def answers(self) -> bool:
        """Whether an answer comes within a moment, or never will."""
        try:
            return self.connection.poll(POLL)
        except OSError:  # it is dead
            return True

    def receive(self) -> tuple[Tensors, Any]:
        try:
            answer = self.connection.recv()
            handle = None if isinstance(answer, DiptychError) else recv_handle(self.connection)
        except (EOFError, OSError, RuntimeError) as error:
            self.process.join(END)
            self.check_alive()
            raise LoadingError(
                f"a data worker cannot be heard ({error}); if too many files are open, raise the limit by `ulimit -n`"
            ) from error
        if handle is None:
            raise answer
        layout, note = answer
        return _mapped(handle, layout), note

    def check_alive(self) -> None:
        """LoadingError if it is dead, with what became of it."""
        code = self.process.exitcode
        if code is None:
            return
        if code >= 0:
            fate = f"ended with exit code {code}; what it printed says why"
        else:
            why = ", as the system does when memory is short" if code == -signal.SIGKILL else ""
            fate = f"was killed by {signal.Signals(-code).name}{why}: {FEWER}"
        raise LoadingError(f"a data worker (process {self.process.pid}) {fate}")

    def end(self) -> None:
        """Kill it: it ignores other signals, and has nothing to lose."""
        self.process.kill()
        self.process.join(END)
        if self.process.exitcode is not None:
            self.process.close()
        self.connection.close()


def _work(load: Load, connection: Connection, inherited: Sequence[Connection]) -> None:
    """Answer requests until the training process closes its end of the connection, or dies.

    It ignores the signals that stop a training, which still needs batches until then.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    for each in inherited:  # held open here, they would hide from the other workers that the training process died
        each.close()
    torch.set_num_threads(1)
    with suppress(EOFError, OSError):
        while True:
            _answer(load, connection, connection.recv())


def _answer(load: Load, connection: Connection, step: int) -> None:
    try:
        tensors, note = _loaded(load, step)
        file, layout = _shared(tensors)
    except DiptychError as error:
        connection.send(error)
        return
    with file:
        connection.send((layout, note))
        send_handle(connection, file.fileno(), None)


def _loaded(load: Load, step: int) -> tuple[Tensors, Any]:
    """`load(step)`, with unknown errors as a LoadingError that says what was raised where."""
    try:
        return load(step)
    except DiptychError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise LoadingError(
            f"a batch cannot be loaded: {type(error).__name__}: {error} ({place.filename}, line {place.lineno})", step
        ) from error


def _shared(tensors: Tensors) -> tuple[BinaryIO, Layout]:
    """A file without a name that holds the tensors, and where each of them lies in it."""
    layout, offset = [], 0
    for name, tensor in tensors.items():
        layout.append((name, tensor.dtype, tensor.shape, offset))
        offset += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
    try:
        file = _nameless()
        for tensor, (*_, place) in zip(tensors.values(), layout, strict=True):
            file.seek(place)
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        file.truncate(offset)
    except OSError as error:
        raise LoadingError(
            f"no shared memory for a batch of {offset / 2**20:.1f} MiB ({error}). Up to {AHEAD} batches of each data "
            f"worker wait in it: {FEWER}; or give the machine or container more memory"
        ) from error
    return file, layout


def _nameless() -> BinaryIO:
    """A file in memory where the system has such files, else in the folder for temporary ones."""
    if sys.platform == "linux":
        return open(os.memfd_create("diptych-batch"), "w+b")
    return tempfile.TemporaryFile()


def _mapped(handle: int, layout: Layout) -> Tensors:
    """The tensors in the file; it is gone once the last of them is."""
    with open(handle, "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    return {
        name: torch.frombuffer(memory, dtype=dtype, count=shape.numel(), offset=offset).view(shape)
        for name, dtype, shape, offset in layout
    }
