"""Data worker processes: each of n workers loads every n-th batch in advance, and passes it in anonymous memory.

The memory is an anonymous file (memfd), whose handle is sent through the connection of the worker. Systems other than
Linux have none: there the batch itself is sent, so each worker loads one batch in advance. Workers share no queue and
no lock, and /dev/shm is not used: a worker can be killed at any time without leaving anything behind or blocking
another process. Its connection is closed, which the trainer detects at once.
"""

import mmap
import os
import signal
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from io import BytesIO
from math import ceil
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from pickle import PicklingError
from typing import Any, BinaryIO

import torch
from torch import Tensor

from diptych.errors import DiptychError, LoadingError
from diptych.system.signals import block_stop_signals, ignore_stop_signals

Tensors = dict[str, Tensor]
Load = Callable[[int], tuple[Tensors, Any]]  # step to (batch, report); the report is picklable
Layout = list[tuple[str, torch.dtype, torch.Size, int]]  # name, dtype, shape, offset in bytes
PREFETCH = 4  # batches that each worker loads in advance
ALIGNMENT = 64  # bytes, as torch aligns its own tensors
POLL = 0.1  # seconds between checks of `interrupted` while a batch is awaited
JOIN_TIMEOUT = 5.0  # seconds for a process to end
HAS_MEMFD = hasattr(os, "memfd_create")  # Linux
UNPICKLABLE = (PicklingError, AttributeError, TypeError)  # errors of pickle, where processes are not forked
FEWER_WORKERS = (
    "a smaller workers= or image_cache_gib= needs less memory, and workers=0 loads batches in the training process"
)


def load_ahead(
    load: Load, start: int, stop: int, workers: int, interrupted: Callable[[], bool] = lambda: False
) -> Generator[tuple[Tensors, Any], None, None]:
    """Yield `load(step)` for the steps `start` to `stop - 1` in order, loaded in advance by `workers` processes.

    Ends early if `interrupted` returns true while a batch is awaited. Errors of `load` are raised here: a DiptychError
    unchanged, any other error and a killed worker as LoadingError.
    """
    if not workers:
        for step in range(start, stop):
            yield _load(load, step)
        return
    pool: list[_Worker] = []
    try:
        for _ in range(min(workers, stop - start)):
            pool.append(_Worker(load, [worker.connection for worker in pool]))
        for step in range(start, min(stop, start + PREFETCH * len(pool))):
            pool[(step - start) % len(pool)].request(step)
        for step in range(start, stop):
            worker = pool[(step - start) % len(pool)]
            while not worker.answers():
                for other in pool:
                    other.check_alive()
                if interrupted():
                    return
            batch = worker.receive()
            if step + PREFETCH * len(pool) < stop:
                worker.request(step + PREFETCH * len(pool))
            yield batch
    finally:
        for worker in pool:
            worker.end()


class _Worker:
    """A worker process, as seen by the training process."""

    def __init__(self, load: Load, others: Sequence[Connection]) -> None:
        """`others` are the connections to earlier workers. Raises LoadingError if the process cannot be started."""
        self.connection, theirs = Pipe()
        self.process = Process(target=_work, args=(load, theirs, [*others, self.connection]), daemon=True)
        try:
            with block_stop_signals():  # until the worker ignores them
                self.process.start()
        except UNPICKLABLE as error:
            self.connection.close()
            raise LoadingError(
                f"a data worker cannot be started, because the data cannot be sent to it ({error}): workers=0 loads "
                f"batches in the training process"
            ) from error
        except OSError as error:
            self.connection.close()
            raise LoadingError(f"a data worker cannot be started ({error}): {FEWER_WORKERS}") from error
        finally:
            theirs.close()

    def request(self, step: int) -> None:
        """Request the batch of a step."""
        with suppress(OSError):  # the process is dead, which `receive` reports
            self.connection.send(step)

    def answers(self) -> bool:
        """Wait a moment for an answer. Returns true also if the process is dead."""
        try:
            return self.connection.poll(POLL)
        except OSError:
            return True

    def receive(self) -> tuple[Tensors, Any]:
        """Return the batch and its report. Raises the error of the worker, or LoadingError if it is dead."""
        try:
            answer = self.connection.recv()
            memory = None if isinstance(answer, DiptychError) else _receive(self.connection)
        except (EOFError, OSError, RuntimeError) as error:
            self.process.join(JOIN_TIMEOUT)
            self.check_alive()
            raise LoadingError(
                f"the connection to a data worker failed ({error}); if too many files are open, raise the limit: "
                f"`ulimit -n`"
            ) from error
        if memory is None:
            raise answer
        layout, report = answer
        return _tensors_in(memory, layout), report

    def check_alive(self) -> None:
        """Raise LoadingError if the process is dead, with the cause."""
        code = self.process.exitcode
        if code is None:
            return
        if code >= 0:
            cause = f"ended with exit code {code}; see its output for the reason"
        else:
            name = signal.Signals(-code).name
            reason = ", as the system does when memory is short" if name == "SIGKILL" else ""
            cause = f"was killed by {name}{reason}: {FEWER_WORKERS}"
        raise LoadingError(f"a data worker (process {self.process.pid}) {cause}")

    def end(self) -> None:
        """Kill the process: it ignores other signals, and has nothing to save."""
        self.process.kill()
        self.process.join(JOIN_TIMEOUT)
        if self.process.exitcode is not None:
            self.process.close()
        self.connection.close()


def _work(load: Load, connection: Connection, inherited: Sequence[Connection]) -> None:
    """Answer requests until the training process closes the connection or dies.

    Signals that stop a training, which are often sent to all its processes, are ignored: it needs batches until it has
    saved a checkpoint.
    """
    ignore_stop_signals()
    for other in inherited:  # if they stayed open, the other workers would not notice the death of the trainer
        other.close()
    torch.set_num_threads(1)
    with suppress(EOFError, OSError):
        while True:
            _answer(load, connection, connection.recv())


def _answer(load: Load, connection: Connection, step: int) -> None:
    """Load the batch of a step and send it, or the error."""
    try:
        tensors, report = _load(load, step)
        file, layout = _to_file(tensors)
    except DiptychError as error:
        connection.send(error)
        return
    with file:
        connection.send((layout, report))
        if isinstance(file, BytesIO):
            connection.send_bytes(file.getbuffer())
        else:
            send_handle(connection, file.fileno(), None)


def _load(load: Load, step: int) -> tuple[Tensors, Any]:
    """Return `load(step)`; errors other than DiptychError are raised as LoadingError with their location."""
    try:
        return load(step)
    except DiptychError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise LoadingError(
            f"a batch cannot be loaded: {type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})", step
        ) from error


def _to_file(tensors: Tensors) -> tuple[BinaryIO, Layout]:
    """Return a file in memory with the tensors, and the position of each in it."""
    layout, offset = [], 0
    for name, tensor in tensors.items():
        layout.append((name, tensor.dtype, tensor.shape, offset))
        offset += ceil(tensor.nbytes / ALIGNMENT) * ALIGNMENT
    try:
        file = _anonymous_file()
        for tensor, (*_, position) in zip(tensors.values(), layout, strict=True):
            file.seek(position)
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        file.truncate(offset)
    except (OSError, MemoryError) as error:
        raise LoadingError(
            f"no shared memory for a batch of {offset / 2**20:.1f} MiB ({error}). It has up to {PREFETCH} batches of "
            f"each data worker: {FEWER_WORKERS}; or give the machine or container more memory"
        ) from error
    return file, layout


def _anonymous_file() -> BinaryIO:
    """Return a file in memory, of the system where it has such files, else of this process."""
    return open(os.memfd_create("diptych-batch"), "w+b") if HAS_MEMFD else BytesIO()


def _receive(connection: Connection) -> mmap.mmap | bytearray:
    """Return the content of a file that a worker sends."""
    if not HAS_MEMFD:
        return bytearray(connection.recv_bytes())
    with open(recv_handle(connection), "r+b") as file:
        return mmap.mmap(file.fileno(), 0)


def _tensors_in(memory: mmap.mmap | bytearray, layout: Layout) -> Tensors:
    """Return the tensors in memory, which is freed with the last of them."""
    return {
        name: torch.frombuffer(memory, dtype=dtype, count=shape.numel(), offset=offset).view(shape)
        for name, dtype, shape, offset in layout
    }
