"""C3: power lost after any system call of a save, with or without any of what was not yet synced."""

import pytest
from checkpoints import small
from disk import Disk, record

from diptych.errors import CheckpointError
from diptych.runs import checkpoint
from diptych.runs.folder import Run
from diptych.system import atomic_files
from diptych.training.checkpoint_manager import CheckpointManager


@pytest.fixture
def run(tmp_path):
    """A run that has saved steps 1, 2 and 3; the best was step 1, and 2 and 3 are the newest."""
    run = Run(tmp_path / "run")
    keeper = CheckpointManager(run, every=0)
    for step, error in ((1, 0.1), (2, 0.5), (3, None)):
        keeper.save(small(step), error)
    return run


def losses(calls, disk):
    """Every state of the disk after each prefix of the calls, once each."""
    seen = set()
    for call in [None, *calls]:
        if call:
            disk.apply(*call)
        for found in disk.after_power_loss():
            key = frozenset(found.items())
            if key not in seen:
                seen.add(key)
                yield call, found


def whole_ones(found, folder, scratch):
    """The steps of the checkpoints found, each of which must be whole; they are written out to be read."""
    steps = []
    for path, content in found.items():
        if path.parent == folder and checkpoint.NAME.fullmatch(path.name):
            (scratch / path.name).write_bytes(content)
            steps.append(checkpoint.load(scratch / path.name)[1]["step"])
    return sorted(steps)


def saves_survive(run, scratch, monkeypatch, save):
    """Record a save and look at every loss of power within it; how many there were."""
    disk = Disk(run.folder)
    with monkeypatch.context() as patch:
        calls = record(patch, run.folder)
        save()
    count = 0
    for after, found in losses(calls, disk):
        steps = whole_ones(found, run.checkpoints, scratch)
        assert len(steps) >= 2, f"after {after}"
        assert 1 in steps, f"the best is lost after {after}"
        count += 1
    assert steps[-1] == 4, "saved, and yet not on the disk"
    assert len(calls) >= 8
    return count


def test_power_lost_during_a_save_and_its_purge(run, tmp_path, monkeypatch):
    """C3: two whole checkpoints and the best are found, whatever reached the disk; once saved, the new one too."""
    (tmp_path / "scratch").mkdir()
    keeper = CheckpointManager(run, every=0)
    keeper.restore(_Engine(), *checkpoint.find_newest(keeper.folder))
    assert saves_survive(run, tmp_path / "scratch", monkeypatch, lambda: keeper.save(small(4))) >= 7


def test_the_model_of_the_disk_notices_a_save_that_does_not_sync(run, tmp_path, monkeypatch):
    """Or else the test before would prove nothing."""
    (tmp_path / "scratch").mkdir()
    keeper = CheckpointManager(run, every=0)
    keeper.restore(_Engine(), *checkpoint.find_newest(keeper.folder))

    def first_file_unsynced(path, sync=atomic_files.sync):
        if path.is_dir():
            sync(path)

    monkeypatch.setattr(atomic_files, "sync", first_file_unsynced)
    with pytest.raises(CheckpointError, match="damaged"):
        saves_survive(run, tmp_path / "scratch", monkeypatch, lambda: keeper.save(small(4)))


def test_a_folder_just_made_is_on_the_disk(tmp_path, monkeypatch):
    """C3: the first checkpoint of a run would be lost with its folder."""
    disk = Disk(tmp_path)
    with monkeypatch.context() as patch:
        calls = record(patch, tmp_path)
        checkpoint.save(tmp_path / "runs" / "one" / "checkpoints" / "0-00000000.safetensors", small(0))
    for call in calls:
        disk.apply(*call)
    for found in disk.after_power_loss():
        assert tmp_path / "runs" / "one" / "checkpoints" / "0-00000000.safetensors" in found


class _Engine:
    def load(self, state):
        pass
