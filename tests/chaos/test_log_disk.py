"""T11: what a training says about itself gets lost, or the clock is wrong: it goes on, and ends as if nothing were."""

import io
import random
import shutil
import time

import pytest
import torch
from commands import diptych
from faults import IMAGES, SHORT, end
from rich.console import Console

from diptych.runs import checkpoint
from diptych.runs.folder import Run
from diptych.settings.recipe import load_recipe
from diptych.system.distributed import Ranks
from diptych.workflows import train


def full_log(run):
    """Each write to the log is refused for want of room."""
    (run / "events.jsonl").symlink_to("/dev/full")


def file_for_previews(run):
    shutil.rmtree(run / "previews")
    (run / "previews").touch()


def file_for_the_board(run):
    (run / "tensorboard").touch()


def all_of_them(run):
    for each in (full_log, file_for_previews, file_for_the_board):
        each(run)


@pytest.mark.parametrize("spoil", [full_log, file_for_previews, file_for_the_board, all_of_them])
def test_what_cannot_be_logged_costs_the_log_alone(spoil, undisturbed, images, tmp_path):
    """T11: one warning, then silence, and the same weights."""
    run, console = Run(tmp_path / "run"), Console(file=io.StringIO())
    recipe = load_recipe("pix2pix", [*IMAGES, f"root={images}", *SHORT])
    data, _ = train.load_data(recipe, Ranks(), console)
    recipe = recipe.with_data_defaults(data).with_auto_resolved(Ranks())
    trainer = train.prepare(recipe, data, run, Ranks(), console)
    run.create()
    spoil(run.folder)
    with pytest.warns(UserWarning, match="cannot be written .*; training goes on without it") as caught:
        trainer.train()
    assert len(caught) == 1
    ours, theirs = (checkpoint.load_newest(folder / "checkpoints") for folder in (run.folder, undisturbed))
    assert ours[0].keys() == theirs[0].keys()
    assert all(torch.equal(ours[0][name], theirs[0][name]) for name in ours[0])
    assert ours[1]["best"] == theirs[1]["best"], "previews that cannot be kept still choose the best"


def test_a_clock_that_jumps_changes_nothing(undisturbed, images, monkeypatch, tmp_path):
    """T11: by years at each look, on and back; not even when it saves."""
    dice = random.Random(0)
    saved, save = [], checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda path, state: saved.append(path.name) or save(path, state))
    monkeypatch.setattr(time, "time", lambda: dice.uniform(0, 2e9))
    words = [*IMAGES, f"root={images}", *SHORT]
    assert diptych("train", "pix2pix", *words, "-o", tmp_path / "run").exit_code == 0
    monkeypatch.undo()
    assert end(tmp_path / "run") == end(undisturbed)
    assert saved[0] == "0-00000000.safetensors"
    assert set(saved) <= {f"0-0000000{step}.safetensors" for step in (0, 3, 6)}, "it saved when the clock jumped"
