"""T9: a run is resumed with something else than it was made with: refused field by field, or allowed by name."""

import shutil

import pytest
import torch
import yaml
from commands import diptych
from faults import IMAGES, end, make_images, newest_step

from diptych.errors import ConfigError
from diptych.methods.pix2pix import Pix2Pix
from diptych.runs.events import read_events
from diptych.training import reproducibility

RENAMED = "test_changed_runs:Renamed"


class Renamed(Pix2Pix):
    """The same under another name."""


@pytest.fixture
def run(tmp_path):
    """A run of two steps whose data are its own."""
    data = make_images(tmp_path / "images")
    assert diptych("train", "pix2pix", *IMAGES, f"root={data}", "steps=2", "-o", tmp_path / "run").exit_code == 0
    return tmp_path / "run"


def edit(run, section, **values):
    """As a person does, in an editor."""
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (settings[section] if section else settings).update(values)
    (run / "config.yaml").write_text(yaml.safe_dump(settings))


def another_picture(run):
    file = run.parent / "images" / "trainA" / "3.png"
    shutil.copy(file.with_name("2.png"), file)


def told(run):
    return [event["changed"] for event in read_events(run / "events.jsonl") if event["event"] == "resume"]


CHANGES = {
    "lr": (lambda run, patch: edit(run, "model", lr=1e-3), r"lr: 0\.0002 -> 0\.001"),
    "steps": (lambda run, patch: edit(run, "model", steps=4), "steps: 2 -> 4"),
    "batch_size": (lambda run, patch: edit(run, "train", batch_size=1), "batch_size: 2 -> 1"),
    "method": (
        lambda run, patch: edit(run, "", method=RENAMED),
        "method: 'pix2pix' -> 'test_changed_runs:Renamed'",
    ),
    "code": (
        lambda run, patch: patch.setattr(reproducibility, "code_digest", lambda cls, config: "other code"),
        "code: '[0-9a-f]{16}' -> 'other code'",
    ),
    "torch": (
        lambda run, patch: patch.setattr(torch, "__version__", "9.9.9"),
        f"torch: '{torch.__version__}' -> '9.9.9'".replace("+", r"\+"),
    ),
    "images": (lambda run, patch: another_picture(run), "images: 1 altered: trainA/3.png"),
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_change_is_refused_until_it_is_allowed(field, run, monkeypatch):
    """T9: with what it was and what it is; allowed, it is kept and told, and the next resume asks no more."""
    change, said = CHANGES[field]
    before = end(run)
    change(run, monkeypatch)
    fields = [field, "code"] if field == "method" else [field]
    method = ["--method", RENAMED] if field == "method" else []
    refusal = rf"these fields differ from the last checkpoint:\n(.*\n)*  {said}\n"
    with pytest.raises(ConfigError, match=refusal) as caught:
        diptych("resume", run, *method)
    allowed = [word for each in fields for word in ("--allow", each)]
    assert str(caught.value).endswith(f"diptych resume {run} {' '.join(allowed)}")
    assert (end(run), told(run)) == (before, [])
    assert diptych("resume", run, *allowed, *method).exit_code == 0
    assert [list(each) for each in told(run)] == [fields]
    assert diptych("resume", run, *method).exit_code == 0
    assert len(told(run)) == 1, "what was allowed once was a change again"
    assert newest_step(run) == (4 if field == "steps" else 2)


def test_settings_given_to_resume_need_leave(run):
    """T9: the same whether they are edited or given; kept once they are allowed."""
    with pytest.raises(ConfigError, match=r"  steps: 2 -> 3\n  lr: 0\.0002 -> 0\.001\n.*--allow steps --allow lr$"):
        diptych("resume", run, "lr=1e-3", "steps=3")
    with pytest.raises(ConfigError, match=r"  lr: 0\.0002 -> 0\.001\n.*--allow steps --allow lr$"):
        diptych("resume", run, "lr=1e-3", "steps=3", "--allow", "steps")
    assert diptych("resume", run, "lr=1e-3", "steps=3", "--allow", "steps", "--allow", "lr").exit_code == 0
    kept = yaml.safe_load((run / "config.yaml").read_text())["model"]
    assert (kept["lr"], kept["steps"], newest_step(run)) == (1e-3, 3, 3)
    assert told(run) == [{"steps": [2, 3], "lr": [2e-4, 1e-3]}]


def test_a_name_that_no_change_has_is_refused(run):
    """T9: with the nearest."""
    with pytest.raises(ConfigError, match=r"--allow step: nothing of that name can change; did you mean 'steps'\?"):
        diptych("resume", run, "steps=3", "--allow", "step")


def test_what_changes_no_number_needs_no_leave(run):
    """T9: where it runs and what it shows; and where the images lie, as long as they are the same."""
    moved = (run.parent / "images").rename(run.parent / "moved")
    words = [
        "workers=2",
        "log_every=1",
        "preview_every=1",
        "preview_images=1",
        "checkpoint_minutes=1",
        "rank_timeout_minutes=1",
    ]
    before = end(run)
    assert diptych("resume", run, f"root={moved}", *words, "cuda_graphs=false").exit_code == 0
    assert (end(run), told(run)) == (before, [])
