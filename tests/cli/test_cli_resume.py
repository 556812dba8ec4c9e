"""`diptych resume`: finished runs, runs that stopped at once, and changed settings."""

import pytest
from commands import TINY, diptych, files

from diptych.errors import ConfigError, TrainingError


def test_a_finished_run_may_be_resumed(run):
    before = (run / "events.jsonl").read_text()
    assert diptych("resume", run).exit_code == 0
    assert (run / "events.jsonl").read_text() == before


def test_a_run_can_be_resumed_from_its_first_moment(tmp_path):
    """Even if it stops before its first regular checkpoint."""
    with pytest.raises(TrainingError, match="is not finite"):
        diptych("train", "pix2pix", *TINY, "lr=1e30", "steps=9", "-o", tmp_path / "run")
    assert files(tmp_path / "run" / "checkpoints") == ["0-00000000.safetensors"]
    with pytest.raises(TrainingError, match="is not finite"):
        diptych("resume", tmp_path / "run")


def test_fewer_steps_than_the_run_has_taken_are_refused(run):
    before = files(run / "checkpoints")
    for words in ([], ["--allow", "steps"]):
        with pytest.raises(ConfigError, match=r"steps=2: .* is already at step 6, past that step"):
            diptych("resume", run, "steps=2", *words)
    assert files(run / "checkpoints") == before
