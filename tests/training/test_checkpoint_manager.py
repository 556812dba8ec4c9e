"""What keeps checkpoints: goes on when the disk refuses one, gives up in time, and removes nothing too early."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from checkpoints import names, small
from safetensors import SafetensorError

from diptych.errors import CheckpointError, RunError
from diptych.runs import checkpoint
from diptych.runs.folder import Run
from diptych.system.atomic_files import remove_leftovers, write_probe
from diptych.training import checkpoint_manager
from diptych.training.checkpoint_manager import CheckpointManager


class Disk:
    """Stands in for the writer of checkpoints: refuses the saves whose numbers are in `full`, counted from 1."""

    def __init__(self, monkeypatch, full):
        self.full, self.asked, self.real = full, 0, checkpoint.save_file
        monkeypatch.setattr(checkpoint, "save_file", self.save)
        monkeypatch.setattr(checkpoint_manager, "PAUSE_SECONDS", 0)

    def save(self, tensors, part, notes):
        self.asked += 1
        if self.asked in self.full:
            part.write_bytes(b"half")
            raise SafetensorError("No space left on device")
        self.real(tensors, part, notes)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


def steps(run):
    return [checkpoint.load(path)[1]["step"] for path in checkpoint.list_checkpoints(run.checkpoints)]


def at_once(monkeypatch):
    monkeypatch.setattr(checkpoint_manager, "RETRY_SECONDS", -1)


def test_a_refused_save_is_a_warning_and_is_tried_again(run, monkeypatch):
    """C2: the next one that comes through sets the count back; what was there before stays whole."""
    at_once(monkeypatch)
    Disk(monkeypatch, full={2, 3, 5, 6})
    kept = CheckpointManager(run, every=3600)
    kept.save(small(1))
    for step in (2, 3):
        assert kept.should_save(0, step, required=False)
        with pytest.warns(UserWarning, match=r"checkpoints: .*No space left.*goes on.*make room.*more failure"):
            kept.save(small(step), required=False)
        assert names(run.checkpoints) == ["0-00000001.safetensors"]
    kept.save(small(4), required=False)
    assert kept.failures == 0
    for step in (5, 6):
        with pytest.warns(UserWarning, match=f"{7 - step} more failure"):
            kept.save(small(step), required=False)
    kept.save(small(7), required=False)
    assert steps(run) == [4, 7]


def test_the_third_refusal_in_a_row_ends_the_run(run, monkeypatch):
    """C2: with the way out in the message."""
    at_once(monkeypatch)
    Disk(monkeypatch, full=range(2, 99))
    kept = CheckpointManager(run, every=3600)
    kept.save(small(1))
    for step in (2, 3):
        with pytest.warns(UserWarning, match="goes on"):
            kept.save(small(step), required=False)
    with pytest.raises(RunError, match=r"checkpoints: .*No space left.*3 times in a row; make room.*diptych resume"):
        kept.save(small(4), required=False)
    assert steps(run) == [1]


def test_after_a_refusal_there_is_time_to_make_room(run, monkeypatch):
    """C2: three previews in a second that are each the best must not end a run."""
    Disk(monkeypatch, full={2})
    kept = CheckpointManager(run, every=3600)
    kept.save(small(1))
    assert kept.should_save(0, 2, required=False)
    with pytest.warns(UserWarning, match="next try is in 60 s"):
        kept.save(small(2), error=0.5, required=False)
    assert not kept.should_save(0, 3, required=False)
    assert kept.should_save(0, 3, required=True)
    kept.last_try -= 61
    assert kept.is_due()
    assert kept.should_save(0, 3, required=False)


def test_a_save_that_must_not_be_missed_is_tried_three_times(run, monkeypatch):
    """C2: the last of a training; never "saved" when it is not."""
    disk = Disk(monkeypatch, full={1, 2})
    kept = CheckpointManager(run, every=3600, failures=2)
    kept.save(small(1), required=True)
    assert (disk.asked, steps(run)) == (3, [1])
    disk.full = range(99)
    with pytest.raises(RunError, match="make room"):
        kept.save(small(2), required=True)
    assert (disk.asked, kept.last) == (6, "0-00000001.safetensors")


def test_a_refused_best_is_not_the_best(run, monkeypatch):
    """C6: or the one that is would be removed for it."""
    at_once(monkeypatch)
    Disk(monkeypatch, full={2})
    kept = CheckpointManager(run, every=3600)
    kept.save(small(1), error=0.5)
    with pytest.warns(UserWarning, match="goes on"):
        kept.save(small(2), error=0.1, required=False)
    for step in (3, 4, 5):
        kept.save(small(step))
    assert steps(run) == [1, 4, 5]
    assert checkpoint.load_newest(run.checkpoints)[1]["best"] == {"name": "0-00000001.safetensors", "error": 0.5}


def test_room_is_asked_for_before_anything_is_written(run, monkeypatch):
    """C2: free space checked before."""
    disk = Disk(monkeypatch, full=())
    kept = CheckpointManager(run, every=3600)
    kept.save(small(1))
    usage = SimpleNamespace(total=10**9, used=10**9, free=100)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda folder: usage)
    with pytest.warns(UserWarning, match=r"are needed, 0\.0 MiB are free.*make room"):
        kept.save(small(2), required=False)
    assert disk.asked == 1
    usage.total = usage.free = 0  # a network folder that does not say
    kept.save(small(3))
    assert steps(run) == [1, 3]


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_two_newest_and_the_best_are_kept(keep, run):
    """C6: two even if it is told to keep one."""
    kept = CheckpointManager(run, every=3600, keep=keep)
    for step in range(1, 10):
        kept.save(small(step, place=step // 5), error=0.1 if step == 2 else 0.5)
        assert len(steps(run)) >= min(2, step)
    assert steps(run) == [2, *range(10 - max(2, keep), 10)]


def test_nothing_is_removed_for_one_that_is_not_known_to_be_whole(run):
    """C6: neither for those that lie there unread, nor for one that has lost its size since."""
    for step in (1, 2, 3, 4):
        checkpoint.save(run.checkpoints / checkpoint.file_name(0, step), small(step))
    damaged = run.checkpoints / "0-00000004.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    kept = CheckpointManager(run, every=3600)
    with pytest.warns(UserWarning, match="loading the one before"):
        kept.restore(engine(), *checkpoint.find_newest(kept.folder))
    assert kept.last == "0-00000003.safetensors"
    assert len(names(run.checkpoints)) == 4
    kept.save(small(5))
    assert steps(run) == [3, 5], "the damaged one is of no use to anybody"
    newest = run.checkpoints / "0-00000005.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    kept.save(small(6))
    assert steps(run) == [3, 6], "3 would have been removed for a 5 that is no longer whole"


def test_a_lost_best_is_chosen_anew(run):
    """C4: else its error would stand for ever, with no file to it."""
    kept = CheckpointManager(run, every=3600)
    for step, error in ((1, 0.1), (2, 0.5), (3, 0.5)):
        kept.save(small(step), error)
    best = run.checkpoints / "0-00000001.safetensors"
    best.write_bytes(best.read_bytes()[:-1])
    again = CheckpointManager(run, every=3600)
    with pytest.warns(UserWarning, match=r"0-00000001.*it was the best one"):
        again.restore(engine(), *checkpoint.find_newest(again.folder))
    assert again.is_better(0.4)
    assert not again.is_better(float("nan"))


def test_what_was_restored_is_not_written_again(run):
    CheckpointManager(run, every=3600).save(small(1))
    kept = CheckpointManager(run, every=3600)
    kept.restore(engine(), *checkpoint.find_newest(kept.folder))
    assert not kept.should_save(0, 1, required=True)


@pytest.mark.parametrize("wrong", [KeyError("G"), IndexError("place"), CheckpointError("shape"), RuntimeError("x")])
def test_one_that_does_not_fit_is_named(wrong, run):
    """C4: whatever the engine says to it."""

    def load(state):
        raise wrong

    CheckpointManager(run, every=3600).save(small(1))
    with pytest.raises(CheckpointError, match=r"0-00000001\.safetensors: is of another method or other settings"):
        CheckpointManager(run, every=3600).restore(SimpleNamespace(load=load), *checkpoint.find_newest(run.checkpoints))


def test_the_next_start_sweeps_what_a_kill_left(run):
    """C1: whatever process left it, but for one that lives and wrote a moment ago; nobody else's files."""
    CheckpointManager(run, every=3600).save(small(1))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        left = {n: run.checkpoints / f".a.safetensors.{n}.part" for n in (dead.pid, os.getpid(), other.pid, 10**30)}
        for folder in left.values():
            folder.mkdir()
            (folder / "a.safetensors").write_bytes(b"half")
        (run.checkpoints / f".old.safetensors.{dead.pid}.part").write_bytes(b"of the first Diptych")
        (run.checkpoints / ".film.mp4.part").write_bytes(b"somebody else's")
        CheckpointManager(run, every=3600).prepare()
        theirs = [".film.mp4.part", "0-00000001.safetensors"]
        assert names(run.checkpoints) == sorted([left[other.pid].name, *theirs])
        os.utime(left[other.pid], (0, 0))  # then the number was given out anew
        remove_leftovers(run.checkpoints)
        assert names(run.checkpoints) == theirs
        other.communicate(b"\n")


@pytest.mark.parametrize(("call", "number"), [("replace", 18), ("mkdir", 13), ("fsync", 5)])
def test_a_folder_that_cannot_be_written_is_an_error_at_the_start(call, number, run, monkeypatch):
    """C5: a rename across devices, no permission, a network folder that cannot sync; nothing is left there."""
    run.create()
    before = names(run.folder), names(run.checkpoints)
    real = vars(os)[call]

    def refuse(*words, **options):
        if any("checkpoints" in str(word) for word in words) or call == "fsync":
            raise OSError(number, os.strerror(number))
        return real(*words, **options)

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match=os.strerror(number)):
        write_probe(run.checkpoints)
    with pytest.raises(RunError, match=rf"checkpoints: .*{os.strerror(number)}.*make it writable"):
        CheckpointManager(run, every=3600).prepare()
    with pytest.raises(RunError, match=rf"{os.strerror(number)}.*choose another folder"):
        Run(run.folder.with_name("other")).create()
    assert (names(run.folder), names(run.checkpoints)) == before
    assert not (run.folder.with_name("other") / "config.yaml").exists(), "and so it may be tried again"


def test_a_file_where_a_folder_should_be_is_an_error_at_the_start(tmp_path):
    """C5."""
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        Run(tmp_path / "file" / "run").create()


def test_a_probe_leaves_nothing(tmp_path):
    write_probe(tmp_path)
    assert names(tmp_path) == []


def engine():
    return SimpleNamespace(load=lambda state: None)
