"""A run that begins with the networks of another one, or of a model."""

import shutil

import pytest
import torch
from commands import TINY, diptych

from diptych import load
from diptych.errors import CheckpointError, ConfigError
from diptych.networks.layers import evaluating
from diptych.runs import checkpoint

SETTINGS = [*TINY, "steps=2", "checkpoint_minutes=0"]


def weights(folder, step):
    tensors, meta = checkpoint.load(sorted((folder / "checkpoints").glob("*.safetensors"))[0 if step == 0 else -1])
    assert meta["total"] == step
    return tensors


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first") / "run"
    assert diptych("train", "pix2pix", *SETTINGS, "-o", folder).exit_code == 0
    return folder


def begin(first, folder, *settings, stop="steps=1"):
    return diptych("train", "pix2pix", *SETTINGS, stop, f"init_from={first}", "seed=3", *settings, "-o", folder)


def test_networks_of_the_same_form_are_taken(first, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "diptych.workflows.train._train_and_report",
        lambda trainer, recipe: seen.append(trainer.engine.method.state_dict()) or trainer,
    )
    said = begin(first, tmp_path / "a")
    assert f"initialised from {first}: G, D" in said.output
    was = weights(first, 2)
    assert all(torch.equal(value, was[f"method.{name}"]) for name, value in seen[0].items())
    said = begin(first, tmp_path / "b", "ndf=8")
    assert f"initialised from {first}: G; randomly initialised: D (" in said.output
    assert all(torch.equal(value, was[f"method.{name}"]) for name, value in seen[1].items() if name.startswith("G."))
    said = begin(first / "model", tmp_path / "c")
    assert f"initialised from {first / 'model'}: G; randomly initialised: D (not in the source)" in said.output


def test_resume_neither_needs_the_other_run_nor_begins_with_it_again(first, tmp_path):
    other, run = tmp_path / "other", tmp_path / "run"
    shutil.copytree(first, other)
    assert begin(other, run, stop="steps=2").exit_code == 0
    before = weights(run, 2)
    shutil.rmtree(other)
    said = diptych("resume", run, "steps=3", "lr=1e-30", "--allow", "steps", "--allow", "lr")
    assert said.exit_code == 0, said.output
    assert "initialised from" not in said.output
    after = weights(run, 3)
    assert all(torch.equal(after[key], before[key]) for key in after if key.endswith(".weight") and "method" in key)


def test_what_does_not_fit_at_all_is_refused_before_anything_is_made(first, tmp_path):
    message = r"init_from=.*: none of its networks has the name and shapes of one here: G \(.*; D \("
    with pytest.raises(ConfigError, match=message):
        begin(first, tmp_path / "a", "ngf=8", "ndf=8")
    with pytest.raises(CheckpointError, match="neither a run folder"):
        begin(tmp_path / "nothing", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_dtn_reads_with_a_judge_that_was_trained_before(tmp_path):
    """Its network comes whole, is not moved by a bit, and is part of the model."""
    letters = ["crop_size=32", "load_size=32", "flip=false", "batch_size=4", "workers=0", "device=cpu"]
    judge, run, model = tmp_path / "judge", tmp_path / "run", tmp_path / "run" / "model"
    reading = ["--data", "glyphs:sans", "base_channels=4", "n_downsample=3", "steps=2"]
    assert diptych("evaluator", "train", "classifier", *reading, *letters, "-o", judge).exit_code == 0
    drawing = ["--data", "glyphs:sans", "target_root=glyphs:serif", "pretrain_steps=0", "steps=2", "ngf=4", "ndf=4"]
    of_judge = ["f_network=classifier", "f_base_channels=4", "f_n_downsample=3", "embedding_dim=16"]
    said = diptych("train", "dtn", *drawing, *of_judge, *letters, f"init_from={judge}", "-o", run)
    assert said.exit_code == 0, said.output
    assert f"initialised from {judge}: f; randomly initialised: " in " ".join(said.output.split())
    was, now = (weights(folder, 2) for folder in (judge, run))
    ours = {key.removeprefix("method.f."): value for key, value in now.items() if key.startswith("method.f.")}
    theirs = {key.removeprefix("method.C."): value for key, value in was.items() if key.startswith("method.C.")}
    assert ours.keys() == theirs.keys()
    assert len(ours) > 10
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    method = load(model).method
    x = torch.rand(2, 1, 32, 32)
    with torch.no_grad(), evaluating(method):
        assert torch.equal(method.translate(x), method.g(method.f.features(x)[..., None, None]))
    with pytest.raises(ConfigError, match="has 16 features: set embedding_dim=16"):
        diptych("train", "dtn", *drawing, *of_judge[:3], *letters, f"init_from={judge}", "-o", tmp_path / "b")


def test_a_network_that_nothing_teaches_is_refused(tmp_path):
    """With `pretrain_steps=0`, f has to come from somewhere; a run that took it over is resumed all the same."""
    words = [
        *TINY,
        "--data",
        "glyphs:sans",
        "target_root=glyphs:serif",
        "load_size=32",
        "flip=false",
        "steps=2",
        "ngf=4",
    ]
    words = [word for word in words if word not in ("root=glyphs", "generator=unet_32", "receptive_field=16")]
    with pytest.raises(ConfigError, match=r"no step trains f: .* init_from=, or set pretrain_steps= above"):
        diptych("train", "dtn", *words, "pretrain_steps=0", "-o", tmp_path / "a")
    assert not (tmp_path / "a").exists()
    alone = ["pretrain_steps=0", "preset=baseline", "lambda_const=0"]
    assert diptych("train", "dtn", *words, *alone, "-o", tmp_path / "d").exit_code == 0, "f has no part in it"
    assert diptych("train", "dtn", *words, "pretrain_steps=1", "-o", tmp_path / "b").exit_code == 0
    assert (
        diptych(
            "train", "dtn", *words, "pretrain_steps=0", f"init_from={tmp_path / 'b'}", "-o", tmp_path / "c"
        ).exit_code
        == 0
    )
    assert diptych("resume", tmp_path / "c", "steps=3", "--allow", "steps").exit_code == 0
