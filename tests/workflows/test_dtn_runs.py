"""Runs of DTN, whose second stage reads codes that were computed once: stopped, resumed, and begun with another's f."""

import shutil
import signal

import pytest
import torch
from commands import diptych, numbers
from judged import LITTLE

import diptych as package
from diptych.data.batches import Batches
from diptych.errors import ConfigError
from diptych.runs import checkpoint
from diptych.runs.events import read_events
from diptych.settings.recipe import load_recipe
from diptych.training.engine import Engine
from diptych.workflows.dry_run import dry_run

TINY = [
    *LITTLE, "root=glyphs:sans", "target_root=glyphs:serif-bold", "ngf=4", "ndf=4", "embedding_dim=8", "batch_size=4",
]  # fmt: skip
STILL = ["load_size=32", "flip=false"]
READ, DRAW = 2, 5  # steps of the two stages


def train(folder, *settings):
    return diptych("train", "dtn", *TINY, *STILL, f"pretrain_steps={READ}", f"steps={DRAW}", *settings, "-o", folder)


def weights(folder):
    tensors, meta = checkpoint.load_newest(folder / "checkpoints")
    return meta["total"], tensors


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert "transfer: computed once per image: codes of source, target" in train(folder).output
    return folder


@pytest.fixture
def given(monkeypatch):
    """The batches that steps are taken on."""
    seen, plain = [], Batches.load_batch
    monkeypatch.setattr(Batches, "load_batch", lambda self, *each: seen.append(plain(self, *each)) or seen[-1])
    return seen


@pytest.mark.parametrize("cut", [0, 2, 4])
def test_codes_computed_again_are_the_same_and_a_resumed_run_is_undisturbed(whole, cut, given, tmp_path, monkeypatch):
    """Stopped after so many steps of the second stage: codes are not kept in checkpoints, and f made them."""
    plain = Engine.train_step

    def train_step(self, batch):
        if self.total == READ + cut - 1:
            signal.raise_signal(signal.SIGTERM)
        plain(self, batch)

    monkeypatch.setattr(Engine, "train_step", train_step)
    run = tmp_path / "run"
    assert train(run).exit_code == 128 + signal.SIGTERM
    assert weights(run)[0] == READ + cut
    monkeypatch.setattr(Engine, "train_step", plain)
    given.clear()
    assert diptych("resume", run).exit_code == 0
    assert ["code of source" in batch for batch in given] == [True] * (DRAW - cut)
    (total, tensors), (_, wanted) = weights(run), weights(whole)
    assert total == READ + DRAW
    assert tensors.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in tensors.items())
    assert numbers(run) == numbers(whole)


def test_a_run_may_begin_with_the_f_of_another_and_go_straight_to_the_transfer(whole, given, tmp_path):
    """For another target, of which g and D are another matter; f is not trained again, and its codes are used."""
    run = tmp_path / "run"
    settings = ["target_root=glyphs:mono", "pretrain_steps=0", "ndf=8", "seed=3", "steps=2"]
    said = train(run, f"init_from={whole}", *settings).output
    assert f"initialised from {whole}: f, head, g; randomly initialised: D (" in " ".join(said.split())
    assert len(given) == 2
    (total, tensors), (_, were) = weights(run), weights(whole)
    assert total == 2
    assert {event["stage"] for event in read_events(run / "events.jsonl")} == {"transfer"}
    read = {name for name in were if name.startswith(("method.f.", "method.head."))}
    assert read
    assert all(torch.equal(tensors[name], were[name]) for name in read)
    reader = package.load(whole, device="cpu").method
    for batch in given:
        assert torch.allclose(batch["code of source"], reader.embed_frozen(batch["source"]), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "world", "least"), [(["batch_size=1"], 1, 2), (["batch_size=4", "grad_accum_steps=2"], 2, 8)]
)
def test_one_image_at_a_time_is_refused_with_the_least_batch_that_fits(settings, world, least):
    words = [*TINY, *STILL, f"pretrain_steps={READ}", f"steps={DRAW}", *settings]
    with pytest.raises(
        ConfigError, match=f"is one image at a time, and BatchNorm needs two: set batch_size={least} at"
    ):
        dry_run(load_recipe("dtn", words), world_size=world)
    dry_run(load_recipe("dtn", [*words, f"batch_size={least}"]), world_size=world)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([], "stage f from step 0 of 2;"),
        (["steps=5"], "nothing left to train;"),
        (["steps=6"], "stage transfer from step 5 of 6;"),
    ],
)
def test_what_is_left_is_said(whole, tmp_path, settings, said):
    if not settings:
        assert said in train(tmp_path / "run").output
        return
    run = shutil.copytree(whole, tmp_path / "run")
    assert said in diptych("resume", run, *settings, "--allow", "steps").output


def test_a_run_that_was_stopped_before_a_network_learned_says_so(whole, tmp_path, monkeypatch):
    def in_the_first_stage(path):
        tensors, meta = read(path)
        return tensors, {**meta, "place": 0, "step": 1}

    read = checkpoint.load_newest
    package.load(whole)  # without a word
    monkeypatch.setattr(checkpoint, "load_newest", in_the_first_stage)
    with pytest.warns(UserWarning, match="training stopped before g was trained, so outputs are noise"):
        package.load(whole)
