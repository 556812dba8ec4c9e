"""DTN beyond its Table 1: portraits with attributes to emoji, domain adaptation, and a digit that is left out."""

import numpy as np
import pytest
import torch
import yaml
from commands import diptych
from experiments import QUIET
from judged import fill, offline, trained  # noqa: F401

from diptych.errors import ConfigError
from diptych.evaluation.results import read_result
from diptych.runs import checkpoint
from diptych.runs.events import read_events
from diptych.runs.folder import Run
from diptych.settings.recipe import SHIPPED, load_recipe
from diptych.workflows.experiment import in_training_order, run_experiment

SMALL = ["ngf=4", "ndf=4", "batch_size=8", "workers=0", "device=cpu", "precision=fp32", "preview_images=8"]
ATTRIBUTES = load_recipe("dtn-celeba-emoji", ["root=a"]).data.attributes


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    """Images with a table in CelebA's format, whose partition holds 4 of 24 out; and a folder of emoji."""
    root = tmp_path_factory.mktemp("portraits")
    files = fill(root / "celeba" / "images", 24, suffix=".jpg")
    random = np.random.default_rng(0)
    names = [*ATTRIBUTES, "Blurry"]
    rows = [" ".join([file.name, *map(str, random.choice((-1, 1), len(names)))]) for file in files]
    (root / "celeba" / "list_attr_celeba.txt").write_text("\n".join([str(len(files)), " ".join(names), *rows]))
    split = [f"{file.name} {int(number >= 20)}" for number, file in enumerate(files)]
    (root / "celeba" / "list_eval_partition.txt").write_text("\n".join(split))
    fill(root / "emoji", 80, 100)
    return root


def to_emoji(portraits, folder, *settings):
    words = [f"root={portraits / 'celeba'}", f"target_root={portraits / 'emoji'}", "crop_size=16", "load_size=16"]
    return diptych("train", "dtn-celeba-emoji", *words, *SMALL, "steps=2", *settings, "-o", folder)


def test_portraits_become_emoji_by_an_f_of_attributes(portraits, tmp_path):
    run = tmp_path / "run"
    assert to_emoji(portraits, run, "pretrain_steps=2", "preview_every=4", "log_every=2").exit_code == 0
    events = list(read_events(run / "events.jsonl"))
    assert {"f/attributes", "g/const", "g/tv"} <= {name for event in events for name in event.get("terms", ())}
    errors = [event["error"] for event in events if event["event"] == "preview"]
    assert {"misread", "misdrawn"} <= set(errors[-1])
    assert tuple(Run.open(run).settings()["model"]["labels"][0]["names"]) == ATTRIBUTES
    assert diptych("evaluate", run, "--extractor", "none", "--count", "4").exit_code == 0


def test_f_may_be_a_classifier_of_attributes(portraits, tmp_path):
    data = [f"root={portraits / 'celeba'}", f"attributes=[{','.join(ATTRIBUTES)}]", "resize_mode=center_square"]
    sizes = ["base_channels=4", "n_downsample=2", "batch_size=8", "steps=1"]
    faces = trained(tmp_path / "faces", "classifier", *data, *sizes, "crop_size=16", "load_size=16").folder
    network = ["f_network=classifier", "f_base_channels=4", "f_n_downsample=2", "embedding_dim=8"]
    run = tmp_path / "run"
    assert to_emoji(portraits, run, *network, f"init_from={faces}", "pretrain_steps=0").exit_code == 0
    f, given = (checkpoint.load_newest(folder / "checkpoints")[0] for folder in (run, faces))
    assert torch.equal(f["method.f.head.weight"], given["method.C.head.weight"])
    assert len(f["method.f.head.weight"]) == len(ATTRIBUTES)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """200 digits, each class a bar at a height of its own, 30 to test, and photographs."""
    root = tmp_path_factory.mktemp("digits")
    random, arrays = np.random.default_rng(0), {}
    for part, count in (("train", 200), ("test", 30)):
        arrays[f"y_{part}"] = (np.arange(count) // 2 % 10).astype(np.uint8)
        arrays[f"x_{part}"] = random.integers(0, 60, (count, 16, 16), np.uint8)
        for digit, kind in zip(arrays[f"x_{part}"], arrays[f"y_{part}"], strict=True):
            digit[kind : kind + 4] = 255
    np.savez(root / "mnist.npz", **arrays)
    fill(root / "photographs", 2)
    return root


def tiny_experiment(name, digits, folder, evaluator_steps):
    values = yaml.safe_load((SHIPPED / "experiments" / f"{name}.yaml").read_text())
    values["evaluator"]["model"] = {"steps": evaluator_steps, "n_downsample": 2, "base_channels": 8}
    values["evaluator"]["train"] = {"batch_size": 16, "precision": "fp32"}
    values["evaluator"]["data"] = {}
    (folder / "experiment.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    roots = [f"root={digits / 'mnist.npz'}", f"target_root={digits / 'mnist.npz'}"]
    settings = [*roots, f"background_root={digits / 'photographs'}", *SMALL, "crop_size=16", "load_size=16"]
    settings = [*settings, "pretrain_steps=1", "steps=1", "embedding_dim=8"]
    run_experiment(str(folder / "experiment.yaml"), settings, folder / "out", console=QUIET)
    return folder / "out"


def test_a_digit_is_left_out(digits, tmp_path, here):
    out = tiny_experiment("dtn-left-out", digits, tmp_path, 1)
    started = [words[-1].rpartition("/")[2] for words in here]
    assert started == ["evaluator", "dtn", "not-in-s-t-and-f", "not-in-s", "not-in-t", "not-in-s-and-t"]
    f = {name: checkpoint.load_newest(out / name / "checkpoints")[0] for name in started[1:]}
    weights = {name: tensors["method.f.body.0.weight"] for name, tensors in f.items()}
    same = {name for name, weight in weights.items() if torch.equal(weight, weights["dtn"])}
    assert same == {"dtn", "not-in-s", "not-in-t", "not-in-s-and-t"}, "f of the first run, with all digits"
    result = read_result(out / "not-in-t" / "results" / "dtn-left-out.json")
    assert {f"accuracy {digit}" for digit in range(10)} < {score.name for score in result.scores}
    assert result.score("accuracy 3").count == 4


def test_a_classifier_is_adapted_to_the_target_by_translations(digits, tmp_path, here):
    out = tiny_experiment("dtn-adaptation", digits, tmp_path, 40)
    result = read_result(out / "dtn" / "results" / "dtn-adaptation.json")
    scores = {score.name: score for score in result.scores}
    assert set(scores) == {"train/adapted-accuracy", "held-out/adapted-accuracy"}
    assert all(score.count == 30 for score in scores.values())
    evaluator = read_result(out / "evaluator" / "results" / "classifier-accuracy.json").score("accuracy").value
    assert scores["train/adapted-accuracy"].ceiling == pytest.approx(evaluator, abs=0.05)
    assert evaluator > 0.2, "twice chance"
    assert any(
        "trained on 95 translations (40 steps of 16) and tested on 30 real images" in line for line in result.said
    )


def test_a_run_starts_from_one_that_starts_by_itself():
    recipes = {"a": load_recipe("dtn-glyphs", []), "b": load_recipe("dtn-glyphs", ["init_from=b"])}
    with pytest.raises(ConfigError, match="run b: init_from=b is a run that itself starts from a run"):
        in_training_order(recipes, SHIPPED)
