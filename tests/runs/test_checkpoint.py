"""Checkpoints, run folders and logs survive what happens to files."""

import json
import multiprocessing
import os

import pytest
import torch
from checkpoints import TENSORS, same, small
from safetensors.torch import save_file

from diptych.errors import CheckpointError, RunError
from diptych.runs import checkpoint
from diptych.runs.events import EventLog, read_events
from diptych.runs.folder import Run
from diptych.system.atomic_files import atomic_write, write_text

STATE = small()


def test_a_state_comes_back_as_it_was(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, STATE)
    assert same(checkpoint.load(path), STATE)
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_every_truncation_is_noticed(tmp_path):
    """C4: one kind of error, whatever the reader of the file says."""
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, STATE)
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(CheckpointError, match=r"a\.safetensors"):
            checkpoint.load(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    save_file(STATE[0], tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="digest"):
        checkpoint.load(tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "missing.safetensors")


HOSTILE = {
    "": "JSON|Expecting",
    "[]": "not the meta data of a checkpoint",
    "{}": "no 'version'",
    '{"version": NaN}': "format nan",
    '{"version": "1"}': "format '1' of a checkpoint, and this Diptych reads 1$",
    '{"version": 0}': "format 0 of a checkpoint, and this Diptych reads 1$",
    '{"version": 2}': "written by a newer Diptych",
    '{"version": 1}': "no 'place'",
    '{"version": 1, "version": 1}': "'version' is repeated",
    "[" * 100_000: "nested too deeply",
    '{"version": 1' + "0" * 5000 + "}": "not the meta data of a checkpoint",
    "place=NaN": "place is nan",
    "place=-1": "place is -1",
    'place="0"': "place is '0'",
    "step=1.5": "step is 1.5",
    "step=null": "step is None",
    "total=[]": r"total is \[\]",
    "stage=3": "stage is 3",
    "ledger=[]": r"ledger is \[\]",
    "best={}": "no 'name'",
    "best=[]": "not the meta data of a checkpoint",
    'best={"name": "../../etc/passwd", "error": 0.1}': "best is",
    'best={"name": "0-00000001.safetensors", "error": NaN}': "best is",
    'best={"name": 7, "error": 0.1}': "not the meta data of a checkpoint",
}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:40])
def test_meta_data_that_are_none_are_refused(text, tmp_path):
    """C4: with a digest that fits, as whoever writes such a file would see to."""
    path = tmp_path / "a.safetensors"
    message, (key, _, value) = HOSTILE[text], text.partition("=")
    if value:
        meta = {"version": 1, **STATE[1]}
        text = json.dumps({**meta, key: "VALUE"}).replace('"VALUE"', value)
    save_file(TENSORS, path, {"diptych": text, "digest": checkpoint.digest(TENSORS, text)})
    with pytest.raises(CheckpointError, match=rf"(?s)a\.safetensors.*({message})"):
        checkpoint.load(path)


def test_a_folder_of_that_name_is_refused(tmp_path):
    (tmp_path / "0-00000001.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
        checkpoint.load(tmp_path / "0-00000001.safetensors")


def test_the_newest_whole_one_is_taken(tmp_path):
    """C4: a damaged one is passed over, and said so."""
    for step in (3, 5):
        checkpoint.save(tmp_path / checkpoint.file_name(0, step), small(step))
    newest = tmp_path / "0-00000005.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="0-00000005.*loading the one before"):
        assert checkpoint.load_newest(tmp_path)[1]["step"] == 3
    (tmp_path / "0-00000003.safetensors").unlink()
    with (
        pytest.warns(UserWarning, match="loading the one before"),
        pytest.raises(CheckpointError, match="none of the 1 checkpoint"),
    ):
        checkpoint.load_newest(tmp_path)


def test_names_sort_by_age(tmp_path):
    """And what a person put there is no checkpoint of the run."""
    ours = [checkpoint.file_name(place, step) for place, step in ((0, 5), (2, 3), (10, 1), (10, 123_456_789))]
    for name in (*ours, "0-00000005-copy.safetensors", "mine.safetensors", "0-00000005.safetensors.bak"):
        (tmp_path / name).touch()
    assert [path.name for path in checkpoint.list_checkpoints(tmp_path)] == ours


def test_a_network_in_two_places_is_written_twice(tmp_path):
    shared = torch.ones(3)
    checkpoint.save(tmp_path / "a.safetensors", ({"a": shared, "b": shared}, STATE[1]))
    assert set(checkpoint.load(tmp_path / "a.safetensors")[0]) == {"a", "b"}


def test_whole_files_appear_only_whole(tmp_path):
    write_text(tmp_path / "deep" / "a.txt", "old")
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "deep" / "a.txt") as part:
        part.write_text("half")
        raise RuntimeError
    assert [(p.name, p.read_text()) for p in (tmp_path / "deep").iterdir()] == [("a.txt", "old")]


def test_a_run_folder_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["diptych", "train", "-o", "runs/my run"])
    run = Run(tmp_path / "run")
    run.create()
    run.save_settings({"method": "x", "model": {"lambda_l1": 1.0}})
    assert Run.open(run.folder).settings() == {"method": "x", "model": {"lambda_l1": 1.0}}
    facts = json.loads((run.folder / "environment.json").read_text())
    assert {"torch", "cores"} <= facts.keys()
    assert facts["command"] == "diptych train -o 'runs/my run'"
    with pytest.raises(RunError, match="diptych resume"):
        run.create()
    with pytest.raises(RunError, match="no config\\.yaml"):
        Run.open(tmp_path)


def test_one_trainer_at_a_time(tmp_path):
    """T8: a second one is refused with the process and host of the first, until that is dead."""
    run = Run(tmp_path / "run")
    run.create()
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
    log = EventLog(tmp_path)
    for step in (10, 20, 30):
        log.write("step", "train", step, terms={"G/l1": 0.5})
    with log.path.open("a") as file:
        file.write('{"event": "st')  # a kill in the middle of a line
    log.forget_after(20)
    assert [event["step"] for event in read_events(log.path)] == [10, 20]


def test_a_full_disk_costs_the_log_and_nothing_else(tmp_path):
    log = EventLog(tmp_path)
    log.path.symlink_to("/dev/full")
    with pytest.warns(UserWarning, match="training goes on without it") as caught:
        for step in range(3):
            log.write("step", "train", step)
    assert len(caught) == 1


def _hold(folder, held, done):
    with Run(folder).locked():
        held.set()
        done.wait(60)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
