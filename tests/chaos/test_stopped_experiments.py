"""An experiment that is told to stop: its training saves and ends with it, and the same command goes on."""

import os
import signal

import pytest
import yaml
from commands import TINY, diptych
from faults import newest_step
from judged import offline  # noqa: F401

from diptych.runs.events import read_events
from diptych.settings import recipe
from diptych.workflows import experiment_runs
from diptych.workflows.experiment_runs import is_finished

STEPS = 120


def steps(run):
    return [event["step"] for event in read_events(run / "events.jsonl") if event["event"] == "step"]


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("number", "send"), [(signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)])
def test_a_signal_ends_the_training_too_and_nothing_is_lost(number, send, child, tmp_path, monkeypatch):
    """`kill` reaches the experiment alone; Ctrl-C reaches both, and then the experiment tells the training again."""
    chosen = recipe.load_recipe("pix2pix", [*TINY, f"steps={STEPS}", "log_every=1", "preview_every=1000"])
    values = {"title": "t", "recipe": chosen.settings(), "runs": {"one": {}}, "protocol": "paired-default"}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(values))
    words, run = ["experiment", tmp_path / "x.yaml", "-o", tmp_path / "out"], tmp_path / "out" / "one"
    running = child(*words).until(lambda: steps(run))
    training = int((run / "lock").read_text().split()[1])
    send(running.pid, number)
    assert running.ended() == 128 + number, running.error
    assert "stopped, checkpoints saved; continue with the same command" in running.output
    assert not lives(training)
    assert "stopped at step" in run.with_name("one.log").read_text()
    assert not is_finished(run)
    assert newest_step(run) == steps(run)[-1] < STEPS
    monkeypatch.setattr(experiment_runs, "_start", lambda job, at_once: setattr(job, "process", Resumed(job.folder)))
    monkeypatch.setattr(experiment_runs, "POLL_SECONDS", 0.0)
    assert diptych(*words).exit_code == 0
    assert is_finished(run)
    assert steps(run) == list(range(1, STEPS + 1)), "no step is lost, none is taken twice"


class Resumed:
    """What the second call starts, but here."""

    def __init__(self, run):
        self.returncode = diptych("resume", run).exit_code

    def poll(self):
        return self.returncode
