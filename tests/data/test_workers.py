"""Data worker processes: batches in order, and one error within seconds whatever becomes of a worker."""

import errno
import gc
import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
import time
from contextlib import closing
from functools import partial
from multiprocessing import resource_tracker

import pytest
import torch

from diptych.data import workers
from diptych.data.workers import load_ahead
from diptych.errors import DataError, LoadingError


def load(step, slow=0.0):
    """A batch that shows its step, in tensors of several types and odd sizes; and a note."""
    time.sleep(slow)
    tensors = {
        "image": torch.full((3, 1, 5, 7), float(step)),
        "label": torch.tensor([step, step + 1]),
        "flag": torch.tensor([True]),
        "half": torch.tensor(step, dtype=torch.bfloat16),
    }
    return tensors, {"step": step}


def check(found, start=0):
    for step, (tensors, note) in enumerate(found, start):
        expected, _ = load(step)
        assert note == {"step": step}
        assert list(tensors) == list(expected)
        for name, tensor in tensors.items():
            assert (tensor.dtype, tensor.shape) == (expected[name].dtype, expected[name].shape)
            assert torch.equal(tensor, expected[name])
            tensor.zero_()  # it belongs to whoever got it


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No process and no open file."""
    resource_tracker.ensure_running()  # where processes are not forked, it stays
    before = len(os.listdir("/dev/fd"))
    yield
    gc.collect()
    assert not multiprocessing.active_children()
    assert len(os.listdir("/dev/fd")) == before


def workers_of_this_process():
    return [process.pid for process in multiprocessing.active_children()]


@pytest.mark.parametrize("count", [0, 1, 3, 20])
@pytest.mark.parametrize("start", [0, 5])
def test_batches_come_in_order_from_any_number_of_workers(count, start):
    found = list(load_ahead(load, start, 17, count))
    assert len(found) == 17 - start
    check(found, start)
    assert not list(load_ahead(load, 3, 3, count))


def test_workers_that_are_not_forked_give_the_same(monkeypatch):
    """As on macOS, where nothing is inherited."""
    monkeypatch.setattr(workers, "Process", multiprocessing.get_context("spawn").Process)
    check(load_ahead(load, 0, 9, 1))


def test_a_system_without_files_in_memory_sends_the_batches_themselves(monkeypatch):
    monkeypatch.setattr(workers, "HAS_MEMFD", False)
    check(load_ahead(load, 0, 9, 2))


def test_data_that_cannot_be_sent_to_a_worker_is_refused(monkeypatch):
    monkeypatch.setattr(workers, "Process", multiprocessing.get_context("spawn").Process)
    with pytest.raises(LoadingError, match=r"the data cannot be sent to it .*lambda.*workers=0"):
        next(load_ahead(lambda step: load(step), 0, 9, 1))


def test_leaving_early_ends_the_workers_at_once():
    began = time.monotonic()
    with closing(load_ahead(partial(load, slow=60), 0, 9, 2, lambda: True)) as found:
        assert next(found, None) is None, "it was interrupted"
    with closing(load_ahead(load, 0, 9, 2)) as found:
        next(found)
    assert time.monotonic() - began < 5


def consumed(found, seconds=10):
    """Take all batches, within so many seconds."""
    end = time.monotonic() + seconds
    for step, (tensors, _) in enumerate(found):
        assert int(tensors["label"][0]) == step
        assert time.monotonic() < end, "the death is not noticed"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGUSR2])
def test_a_worker_killed_while_its_first_batch_is_awaited(number):
    def kill():
        os.kill(workers_of_this_process()[0], number)
        return False

    with pytest.raises(
        LoadingError, match=f"killed by {number.name}.*: a smaller workers= .*, and workers=0"
    ) as caught:
        consumed(load_ahead(partial(load, slow=60), 0, 9, 2, kill))
    assert caught.value.exit_code == 3
    assert ("memory is short" in str(caught.value)) == (number == signal.SIGKILL)


def test_a_worker_killed_before_it_gets_to_work(monkeypatch):
    plain = workers._Worker.request
    monkeypatch.setattr(workers._Worker, "request", lambda self, step: (self.process.kill(), plain(self, step)))
    with pytest.raises(LoadingError, match="a data worker"):
        consumed(load_ahead(load, 0, 9, 2))


@pytest.mark.parametrize("seed", range(6))
def test_a_worker_killed_at_any_moment_of_its_work(seed):
    """While it loads, writes, sends or waits: the batches before are whole, and the end comes at once."""
    found = load_ahead(load, 0, 10**9, 2)
    next(found)
    victim = random.Random(seed).choice(workers_of_this_process())
    timer = threading.Timer(random.Random(seed).uniform(0, 0.2), os.kill, (victim, signal.SIGKILL))
    timer.start()
    with pytest.raises(LoadingError, match=f"process {victim}. was killed by SIGKILL"):
        consumed(map(shifted, found))
    timer.join()


def shifted(batch):
    """As if it had been the batch before."""
    return {"label": batch[0]["label"] - 1}, batch[1]


def test_a_worker_killed_once_all_batches_are_loaded_costs_nothing():
    found = load_ahead(load, 0, 8, 2)
    first = next(found)
    time.sleep(0.5)
    for pid in workers_of_this_process():
        os.kill(pid, signal.SIGKILL)
    check([first, *found])


class OddError(Exception):
    """Cannot be rebuilt from what it says."""

    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("error", [OddError("this", "that"), ZeroDivisionError("by zero"), MemoryError()])
def test_any_error_is_told_with_its_step_and_place(error, count):
    def fails(step):
        if step == 3:
            raise error
        return load(step)

    found = load_ahead(fails, 0, 9, count)
    check(next(found) for _ in range(3))
    place = r"\(.*test_workers.py, line \d+\)"
    with pytest.raises(LoadingError, match=f"{type(error).__name__}: {error} {place}") as caught:
        next(found)
    assert caught.value.step == 3
    with closing(load_ahead(refuses, 0, 9, count)) as found, pytest.raises(DataError, match=r"^mend this$"):
        next(found)


def refuses(step):
    raise DataError("mend this")


def test_a_worker_that_leaves_is_told():
    with pytest.raises(LoadingError, match="ended with exit code 7"):
        next(load_ahead(os._exit, 7, 9, 1))


def test_signals_for_the_trainer_do_not_end_workers():
    found = load_ahead(load, 0, 100, 2)
    first = next(found)
    for pid in workers_of_this_process():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            os.kill(pid, number)
    check([first, *found])


def full():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_room_for_a_batch_names_shared_memory_and_the_ways_out(monkeypatch):
    monkeypatch.setattr(workers, "_anonymous_file", full)
    with pytest.raises(LoadingError, match=r"no shared memory for a batch of 0\.0 MiB .*No space left.*workers=0"):
        consumed(load_ahead(load, 0, 9, 2))


def test_a_process_that_cannot_be_started_names_the_way_out(monkeypatch):
    def start(self):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(multiprocessing.Process, "start", start)
    with pytest.raises(LoadingError, match=r"a data worker cannot be started.*workers=0"):
        next(load_ahead(load, 0, 9, 2))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a limit on open files be reached so easily")
def test_too_many_open_files_are_named(monkeypatch):
    monkeypatch.setattr(workers, "JOIN_TIMEOUT", 0.1)
    found = load_ahead(load, 0, 99, 2)
    next(found)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) - 1, before[1]))
    try:
        with pytest.raises(LoadingError, match=r"raise the limit: .ulimit -n"):
            list(found)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
