"""Checkpoints, run folders and logs survive what happens to files."""

import json
import multiprocessing
import os

import pytest
import torch

from diptych.engine import checkpoint
from diptych.engine.log import Log, read_events
from diptych.engine.run import Run
from diptych.errors import CheckpointError, RunError
from diptych.files import whole, write_text

STATE = (
    {"method.G.weight": torch.arange(6.0).reshape(2, 3), "method.G.steps": torch.tensor(3)},
    {"place": 0, "step": 7, "best": {}},
)


def same(one, other):
    return (
        one[1] == other[1]
        and one[0].keys() == other[0].keys()
        and all(torch.equal(one[0][k], other[0][k]) for k in one[0])
    )


def test_a_state_comes_back_as_it_was(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, STATE)
    assert same(checkpoint.load(path), STATE)
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, STATE)
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(CheckpointError, match=r"a\.safetensors"):
            checkpoint.load(path)


def test_every_truncation_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, STATE)
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(CheckpointError):
            checkpoint.load(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file(STATE[0], tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="digest"):
        checkpoint.load(tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "missing.safetensors")


def test_a_failed_save_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "0-00000007.safetensors"
    checkpoint.save(path, STATE)

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, ({}, {"place": 0, "step": 8}))
    assert same(checkpoint.load(path), STATE)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_newest_whole_one_is_taken(tmp_path):
    for step in (3, 5):
        checkpoint.save(tmp_path / checkpoint.name_of(0, step), (STATE[0], {"place": 0, "step": step}))
    newest = tmp_path / "0-00000005.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="0-00000005.*going back to the one before"):
        assert checkpoint.newest(tmp_path)[1]["step"] == 3
    (tmp_path / "0-00000003.safetensors").unlink()
    with (
        pytest.warns(UserWarning, match="going back"),
        pytest.raises(CheckpointError, match="no whole checkpoint among 1"),
    ):
        checkpoint.newest(tmp_path)


def test_two_newest_and_the_best_are_kept(tmp_path):
    for step in range(5):
        checkpoint.save(tmp_path / checkpoint.name_of(step // 3, step), STATE)
    (tmp_path / ".half.1.part").write_bytes(b"x")
    checkpoint.tidy(tmp_path, best="0-00000001.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "0-00000001.safetensors",
        "1-00000003.safetensors",
        "1-00000004.safetensors",
    ]


def test_a_network_in_two_places_is_written_twice(tmp_path):
    shared = torch.ones(3)
    checkpoint.save(tmp_path / "a.safetensors", ({"a": shared, "b": shared}, {}))
    assert set(checkpoint.load(tmp_path / "a.safetensors")[0]) == {"a", "b"}


def test_whole_files_appear_only_whole(tmp_path):
    write_text(tmp_path / "deep" / "a.txt", "old")
    with pytest.raises(RuntimeError), whole(tmp_path / "deep" / "a.txt") as part:
        part.write_text("half")
        raise RuntimeError
    assert [(p.name, p.read_text()) for p in (tmp_path / "deep").iterdir()] == [("a.txt", "old")]


def test_a_run_folder_is_made_once(tmp_path):
    run = Run.create(tmp_path / "run", {"method": "x", "model": {"l1": 1.0}})
    assert Run.open(run.folder).settings() == {"method": "x", "model": {"l1": 1.0}}
    assert {"torch", "command", "cores"} <= json.loads((run.folder / "environment.json").read_text()).keys()
    with pytest.raises(RunError, match="diptych resume"):
        Run.create(run.folder, {})
    with pytest.raises(RunError, match="no config\\.yaml"):
        Run.open(tmp_path)


def test_one_trainer_at_a_time(tmp_path):
    run = Run.create(tmp_path / "run", {"method": "x"})
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(run.folder, held, done))
    other.start()
    assert held.wait(60)
    with pytest.raises(RunError, match=f"process {other.pid} on "), run.locked():
        pass
    other.kill()
    other.join()
    with run.locked():
        assert str(os.getpid()) in (run.folder / "lock").read_text()


def test_events_after_the_checkpoint_are_forgotten(tmp_path):
    log = Log(tmp_path)
    for step in (10, 20, 30):
        log.write("step", "train", step, terms={"G/l1": 0.5})
    log.close()
    with log.path.open("a") as file:
        file.write('{"event": "st')  # a kill in the middle of a line
    log.forget_after(20)
    assert [event["step"] for event in read_events(log.path)] == [10, 20]


def test_a_full_disk_costs_the_log_and_nothing_else(tmp_path):
    log = Log(tmp_path)
    log.path.symlink_to("/dev/full")
    with pytest.warns(UserWarning, match="training goes on without a log") as caught:
        for step in range(3):
            log.write("step", "train", step)
    log.close()
    assert len(caught) == 1


def _hold(folder, held, done):
    with Run(folder).locked():
        held.set()
        done.wait(60)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
