"""Whole trainings on disks that refuse: from the command line to the exit code."""

import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import names, same
from commands import TINY, diptych

from diptych.errors import RunError
from diptych.runs import checkpoint
from diptych.runs.events import read_events
from diptych.system.atomic_files import PART

FIRST = ["0-00000000.safetensors"]
SAVING = [*TINY, "steps=6", "log_every=1", "preview_every=100", "checkpoint_minutes=0"]  # after every step, that is


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A run of six steps that ended before its first one."""
    with monkeypatch.context() as patch:
        patch.setattr("diptych.training.trainer.Trainer.train", refuse)
        with pytest.raises(InterruptedError):
            diptych("train", "pix2pix", *SAVING, "-o", tmp_path / "run")
    assert names(tmp_path / "run" / "checkpoints") == FIRST
    return tmp_path / "run"


def refuse(*_):
    raise InterruptedError


def resumed(run, largest):
    """`diptych resume` in a process whose files may have so many bytes; the system refuses more, as if full."""
    code = (
        f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({largest}, {largest}))\n"
        "from diptych.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "resume", str(run)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_a_disk_that_stays_full_ends_the_run_at_the_third_refusal(begun):
    """C2: with exit code 2, two warnings, no litter, and what was there before whole: the run can be resumed."""
    done = resumed(begun, 200_000)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("warning: ") == 2, done.stderr
    assert done.stderr.count("Training goes on") == 2
    error = next(line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert f"{begun}/checkpoints: a checkpoint cannot be written" in error
    assert "File too large" in error
    assert f"diptych resume {begun}" in error
    assert names(begun / "checkpoints") == FIRST
    assert not list(begun.rglob(f"*{PART}"))
    assert [event["step"] for event in read_events(begun / "events.jsonl")] == [1, 2, 3], "it went on in between"
    assert diptych("resume", begun).exit_code == 0
    assert checkpoint.load_newest(begun / "checkpoints")[1]["step"] == 6


def test_a_disk_that_was_full_for_a_moment_costs_nothing(begun, tmp_path, monkeypatch):
    """C2: the same weights as without."""
    real, asked = checkpoint.save_file, []

    def now_and_then(*words):
        asked.append(1)
        if len(asked) in (1, 2, 4):
            raise OSError(28, "No space left on device")
        real(*words)

    monkeypatch.setattr(checkpoint, "save_file", now_and_then)
    with pytest.warns(UserWarning, match="Training goes on") as caught:
        assert diptych("resume", begun).exit_code == 0
    assert len(caught) == 3
    assert diptych("train", "pix2pix", *SAVING, "-o", tmp_path / "other").exit_code == 0
    ours, theirs = (checkpoint.load_newest(tmp_path / name / "checkpoints") for name in ("run", "other"))
    assert same((ours[0], {}), (theirs[0], {}))


def test_a_last_save_that_fails_is_not_passed_over(begun, monkeypatch):
    """C2: the trained weights are in it."""
    real, at = checkpoint.save, []

    def not_the_last(path, state):
        at.append(state[1]["step"])
        if at[-1] == 6:
            raise OSError(28, "No space left on device")
        real(path, state)

    monkeypatch.setattr(checkpoint, "save", not_the_last)
    monkeypatch.setattr("diptych.training.checkpoint_manager.PAUSE_SECONDS", 0)
    with pytest.warns(UserWarning, match="goes on"), pytest.raises(RunError, match=r"No space left.*resume"):
        diptych("resume", begun)
    assert at.count(6) == 5, "as the best, as one that was due, and three times at the end"
    assert not (begun / "model").exists()


def test_a_run_folder_behind_a_link_is_a_run_folder(tmp_path):
    """C5: and so are checkpoints that lie elsewhere, on a larger disk."""
    for name in ("real", "large"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "checkpoints").symlink_to(tmp_path / "large")
    assert diptych("train", "pix2pix", *TINY, "steps=2", "-o", tmp_path / "link").exit_code == 0
    assert diptych("resume", tmp_path / "link").exit_code == 0
    assert [Path(name).suffix for name in names(tmp_path / "large")] == [".safetensors"] * 2
    assert (tmp_path / "real" / "checkpoints").is_symlink()


def test_a_run_that_could_not_be_saved_does_not_begin(begun, monkeypatch):
    """C5: resume says so at once, not after an hour."""

    def across(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.replace", across)
    with pytest.raises(RunError, match=r"checkpoints: .*cross-device.*make it writable"):
        diptych("resume", begun)
