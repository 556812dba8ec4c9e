"""T12: a training whose data workers are killed, fail or find no shared memory, in real processes."""

import ctypes
import os
import random
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from commands import diptych
from faults import IMAGES, SHORT, end, newest_step, unhurried
from forks import ranks
from test_lost_ranks import APART, impatient

from diptych.data.batches import Batches

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc names the workers of a process")
NO_MOUNT = 77
NEW_NAMESPACE, PRIVATE = 0x20000, 0x44000


@pytest.fixture
def words(images):
    return ["train", "pix2pix", *IMAGES, f"root={images}", *SHORT, "checkpoint_minutes=0", "workers=2", "-o"]


def workers_of(child):
    """The data workers of a training that has begun; before, what examines the images has processes too."""
    if "run folder:" not in child.output:
        return []
    return children(child.pid)


def children(pid):
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def in_group(pid):
    """Living processes of the group of a child: itself, and what it started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(group) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def nothing_left(pid):
    deadline = time.monotonic() + 5
    while in_group(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not in_group(pid)


def slow_loading():
    """No batch comes within a minute."""
    Batches.load_batch = lambda self, step, lost: time.sleep(60)


def check_resumes(run, undisturbed):
    assert diptych("resume", run).exit_code == 0
    assert end(run) == end(undisturbed)


def test_a_worker_killed_before_the_first_batch(words, undisturbed, child, tmp_path):
    run = tmp_path / "run"
    waiting = child(*words, run, fault=slow_loading)
    waiting.until(lambda: len(workers_of(waiting)) == 2)
    os.kill(random.Random(0).choice(workers_of(waiting)), signal.SIGKILL)
    assert waiting.ended(15) == 3, waiting.error
    said = waiting.error.strip().splitlines()
    assert re.match(r"error: step 0: a data worker \(process \d+\) was killed by SIGKILL", said[0]), said
    assert said[1] == f"When this is fixed, resume with: diptych resume {run} workers=1"
    assert len(said) == 2, "more than one error"
    assert nothing_left(waiting.pid)
    check_resumes(run, undisturbed)


@pytest.mark.parametrize("seed", range(3))
def test_a_worker_killed_at_a_random_moment(seed, words, undisturbed, child, tmp_path):
    """What was learnt before is saved, and the run goes on to the bytes of one that nothing befell."""
    run = tmp_path / "run"
    hurt = child(*words, run, fault=unhurried)
    hurt.until(lambda: len(workers_of(hurt)) == 2)
    time.sleep(random.Random(seed).uniform(0, 0.3))
    with suppress(IndexError, ProcessLookupError):  # the end came first
        os.kill(random.Random(seed).choice(children(hurt.pid)), signal.SIGKILL)
    if hurt.ended(20) != 0:  # after the last batch was loaded nobody misses it
        assert hurt.process.exitcode == 3
        assert f"error: step {newest_step(run)}: a data worker" in hurt.error
    assert nothing_left(hurt.pid)
    check_resumes(run, undisturbed)


def breaks():
    """Sample number 7 raises what no one expects."""
    plain = Batches.sample

    def sample(self, number, lost):
        if number == 7:
            raise KeyError("no such thing")
        return plain(self, number, lost)

    Batches.sample = sample


@pytest.mark.parametrize("count", [0, 2])
def test_an_error_of_a_worker_is_one_error_and_costs_no_step(count, words, undisturbed, child, tmp_path):
    run = tmp_path / "run"
    broken = child(*[f"workers={count}" if word == "workers=2" else word for word in words], run, fault=breaks)
    assert broken.ended(15) == 3
    said = broken.error.strip().splitlines()
    assert re.match(r"error: step 3: a batch cannot be loaded: KeyError: 'no such thing' \(.*, line \d+\)", said[0])
    assert said[1].startswith("Images of that step: ")
    assert "/trainA/" in said[1]
    assert len(said) == 3, broken.error
    assert newest_step(run) == 3
    assert nothing_left(broken.pid)
    check_resumes(run, undisturbed)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_a_training_that_waits_for_a_batch(number, code, words, undisturbed, child, tmp_path):
    """The first one: there is no step to finish."""
    run = tmp_path / "run"
    waiting = child(*words, run, fault=slow_loading)
    waiting.until(lambda: len(workers_of(waiting)) == 2)
    waiting.kill(number)
    assert waiting.ended(10) == code, waiting.error
    assert f"stopped at step 0, checkpoint saved; continue with: diptych resume {run}" in waiting.output
    assert nothing_left(waiting.pid)
    check_resumes(run, undisturbed)


def test_workers_end_with_a_training_that_is_killed(words, child, tmp_path):
    lonely = child(*words, tmp_path / "run", fault=unhurried)
    lonely.until(lambda: len(workers_of(lonely)) == 2)
    os.kill(lonely.pid, signal.SIGKILL)
    assert lonely.ended() == -signal.SIGKILL
    assert nothing_left(lonely.pid)


def test_the_other_rank_does_not_wait_for_one_that_lost_a_worker(child, tmp_path):
    run = tmp_path / "run"
    settings = [
        *(word for word in APART if word != "workers=0"),
        "workers=1",
        "steps=100000",
        "checkpoint_minutes=0.001",
    ]
    both = ranks(child, "train", "pix2pix", *settings, "-o", run, fault=impatient)
    both[0].until(lambda: len(list((run / "checkpoints").glob("0-*[1-9]*.safetensors"))) > 0)
    (worker,) = children(both[1].pid)
    os.kill(worker, signal.SIGKILL)
    assert [each.ended(20) for each in both] == [3, 3]
    assert "a data worker" in both[1].error
    assert "rank 1 of 2 died or hangs" in both[0].error
    assert all(nothing_left(each.pid) for each in both)


def full_shared_memory():
    """A /dev/shm of this process alone, with no room in it."""
    system = ctypes.CDLL(None, use_errno=True)
    if (
        system.unshare(NEW_NAMESPACE)
        or system.mount(None, b"/", None, PRIVATE, None)
        or system.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"size=64k")
    ):
        os._exit(NO_MOUNT)
    try:
        Path("/dev/shm/full").write_bytes(bytes(2**20))
    except OSError:
        return
    raise AssertionError("there is room")


def test_a_full_dev_shm_does_not_matter(words, undisturbed, child, tmp_path):
    """As in a container with little of it: batches do not go through it."""
    run = tmp_path / "run"
    cramped = child(*words, run, fault=full_shared_memory)
    code = cramped.ended()
    if code == NO_MOUNT:
        pytest.skip("a /dev/shm of its own needs the right to mount, which root has")
    assert code == 0, cramped.error
    assert end(run) == end(undisturbed)


def no_shared_memory():
    from diptych.data import workers

    def full():
        raise OSError(28, "No space left on device")

    workers._anonymous_file = full


def test_no_shared_memory_at_all_is_one_error_that_names_the_ways_out(words, undisturbed, child, tmp_path):
    run = tmp_path / "run"
    cramped = child(*words, run, fault=no_shared_memory)
    assert cramped.ended(15) == 3, cramped.error
    assert "error: step 0: no shared memory for a batch of" in cramped.error
    assert "workers=0" in cramped.error
    assert nothing_left(cramped.pid)
    check_resumes(run, undisturbed)
