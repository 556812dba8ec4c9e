"""Experiments whose trainings are calls in this process."""

from types import SimpleNamespace

import pytest
from experiments import LOSSES, QUIET, InProcess, written

from diptych.workflows import experiment_runs
from diptych.workflows.experiment import run_experiment


@pytest.fixture
def here(monkeypatch):
    """Trainings in this process; gives what was started."""
    monkeypatch.setattr(experiment_runs, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(experiment_runs, "subprocess", SimpleNamespace(Popen=InProcess))
    monkeypatch.setattr(InProcess, "started", [])
    return InProcess.started


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An experiment that was carried out; what it started."""
    folder = tmp_path_factory.mktemp("experiment")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment_runs, "POLL_SECONDS", 0.0)
        patch.setattr(experiment_runs, "subprocess", SimpleNamespace(Popen=InProcess))
        patch.setattr(InProcess, "started", [])
        page = run_experiment(written(folder, LOSSES), [], folder / "out", console=QUIET)
        return folder, page, list(InProcess.started)
