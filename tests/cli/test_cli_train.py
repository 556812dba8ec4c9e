"""`diptych train`: what a run folder holds, and what stops a training without harm."""

import hashlib
import re
import time

import numpy as np
import pytest
from commands import NO_DISCRIMINATOR, TINY, as_rank, diptych, numbers, process

from diptych.data.images import image_io
from diptych.errors import RunError
from diptych.runs import checkpoint
from diptych.runs.events import read_events
from diptych.testing.processes import run_in_new_processes


def test_a_run_leaves_what_it_promises(run):
    assert {p.name for p in run.iterdir()} == {
        "config.yaml",
        "data.json",
        "environment.json",
        "events.jsonl",
        "checkpoints",
        "previews",
        "model",
        "tensorboard",
        "lock",
        "report.html",
    }
    assert {p.name for p in (run / "model").iterdir()} == {"model.safetensors", "config.json", "README.md"}
    assert sorted(p.name for p in (run / "previews").iterdir()) == ["0-00000003.png", "0-00000006.png"]
    events = list(read_events(run / "events.jsonl"))
    assert [(e["event"], e["step"]) for e in events] == [
        ("step", 2),
        ("preview", 3),
        ("step", 4),
        ("step", 6),
        ("preview", 6),
    ]
    assert set(events[0]["terms"]) == {"D/real", "D/fake", "D/gradient", "G/gan", "G/l1", "G/gradient"}
    assert list(events[1]["error"]) == ["source->target"]
    assert list((run / "tensorboard").iterdir())
    page = (run / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3, "sample grid, held-out error, loss terms"
    assert "//" not in re.sub('base64,[^"]*', "", page.split("<table")[0])


def test_the_best_checkpoint_is_kept(run):
    names = sorted(p.name for p in (run / "checkpoints").iterdir())
    best = checkpoint.load_newest(run / "checkpoints")[1]["best"]
    assert best["name"] in names
    errors = {
        e["step"]: e["error"]["source->target"] for e in read_events(run / "events.jsonl") if e["event"] == "preview"
    }
    assert best["error"] == min(errors.values())


def test_two_ranks_train_one_run(tmp_path):
    """The same command in two processes, as torchrun starts them: one folder, one log, the numbers of one process."""
    settings = [
        *TINY,
        "steps=4",
        "log_every=2",
        "preview_every=2",
        "norm=instance",
        "d_norm=instance",
        "dropout=none",
        "batch_size=4",
        "precision=fp32",
    ]
    assert diptych("train", "pix2pix", *settings, "-o", tmp_path / "one").exit_code == 0
    words = ("train", "pix2pix", *settings, "-o", tmp_path / "two")
    assert run_in_new_processes(as_rank, *words, ranks=2) == [0, 0]
    one, two = numbers(tmp_path / "one"), numbers(tmp_path / "two")
    assert [line[:2] for line in one] == [line[:2] for line in two]
    for ours, theirs in zip(one, two, strict=True):
        for values, others in zip(ours[2:], theirs[2:], strict=True):
            assert (values or {}) == pytest.approx(others or {}, rel=2e-3)


def test_a_run_is_not_overwritten(run):
    with pytest.raises(RunError, match="diptych resume"):
        diptych("train", "pix2pix", *TINY, "-o", run)


def test_a_run_in_whose_last_steps_nothing_is_cut(tmp_path):
    """`random_crop_until=0.5`: the first half equals a run with crops; with 0 all steps equal a run without crops."""
    seen = []
    for settings in (
        ["load_size=36"],
        ["load_size=36", "random_crop_until=0.5"],
        ["load_size=36", "random_crop_until=0"],
        ["load_size=32"],
    ):
        run = tmp_path / str(len(seen))
        assert diptych("train", "pix2pix", *TINY, *settings, "steps=4", "log_every=1", "-o", run).exit_code == 0
        seen.append([event["terms"] for event in read_events(run / "events.jsonl") if event["event"] == "step"])
    cropped, half_cropped, never_cropped, resized = seen
    assert half_cropped[:2] == cropped[:2] != resized[:2]
    assert half_cropped[2] != cropped[2]
    assert never_cropped == resized


def test_an_image_that_breaks_during_training_costs_no_step(tmp_path):
    """The error names it with its hashes, a checkpoint is saved, and the run continues once the image is restored."""
    for number in range(6):
        for folder in ("trainA", "trainB", "valA", "valB"):
            image_io.write(tmp_path / "data" / folder / f"{number}.png", np.full((32, 32, 1), 40 * number, np.uint8))
    broken = tmp_path / "data" / "trainA" / "3.png"
    good = broken.read_bytes()
    words = [word for word in TINY if word not in ("root=glyphs", "batch_size=2")]
    run, endless = tmp_path / "run", ("steps=100000", "log_every=1", "image_cache_gib=0")
    child = process("train", "pix2pix", "-d", tmp_path / "data", *words, *endless, "-o", run)
    while not (run / "events.jsonl").exists():
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.05)
    broken.write_bytes(good[:-30])
    _, said = child.communicate(timeout=120)
    assert child.returncode == 2
    assert all(word in said for word in ("trainA/3.png", hashlib.sha256(good).hexdigest()[:8])), said
    learnt = checkpoint.load_newest(run / "checkpoints")[1]["step"]
    assert learnt > 0
    broken.write_bytes(good)
    assert diptych("resume", run, f"steps={learnt + 2}", "--allow", "steps").exit_code == 0
    assert checkpoint.load_newest(run / "checkpoints")[1]["step"] == learnt + 2


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(RunError, match=r"No space left on device.*diptych resume"):
        diptych("train", "pix2pix", *TINY, "steps=2", "-o", tmp_path / "run")


def test_names_that_look_like_markup_are_printed_as_they_are(tmp_path):
    assert "a[/b]" in diptych("train", "pix2pix", *TINY, "steps=1", "-o", tmp_path / "a[" / "b]").stdout


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "form",
    [["gan_loss=wgan-gp", "d_norm=instance"], ["gan_loss=hinge"], ["loss=l1"], ["loss=gan", "preset=repo"]],
)
def test_every_form_of_pix2pix_trains_from_the_command_line(form, precision, tmp_path):
    """Dry run, engine and report accept it, in both precisions."""
    words = [*(NO_DISCRIMINATOR if "loss=l1" in form else TINY), "steps=2", f"precision={precision}", *form]
    assert diptych("train", "pix2pix", *words, "-o", tmp_path / "run").exit_code == 0
    terms = next(read_events(tmp_path / "run" / "events.jsonl"))["terms"]
    assert ("D/penalty" in terms) == ("gan_loss=wgan-gp" in form)


@pytest.mark.parametrize(
    "form", [["lambda_identity=0.5"], ["norm=batch", "lambda_identity=0.5"], ["lambda_gan=0"], ["lambda_cycle_b=0"]]
)
def test_every_form_of_cyclegan_trains_from_the_command_line(form, tmp_path):
    words = [word for word in (NO_DISCRIMINATOR if "lambda_gan=0" in form else TINY) if "generator" not in word]
    words += ["generator=resnet_1", "steps=2", *form]
    assert diptych("train", "cyclegan", *words, "-o", tmp_path / "run").exit_code == 0
