"""Runs of an experiment judged alike: by its judge, its palette, the checkpoint it names; and not again for nothing."""

import pytest
from commands import diptych
from experiments import LOSSES, QUIET, RECIPE, SEGMENTER, written
from judged import COLOURS, offline, pairs  # noqa: F401

from diptych.errors import DiptychError
from diptych.evaluation.results import read_result
from diptych.evaluation.runner import evaluate_samples
from diptych.runs import checkpoint
from diptych.workflows import evaluate_runs
from diptych.workflows.experiment import run_experiment


def test_what_was_judged_is_not_judged_again_unless_something_else_is_asked(made, here, monkeypatch):
    folder, _, _ = made
    judged = []
    monkeypatch.setattr(
        evaluate_runs, "evaluate_samples", lambda *given: judged.append(given[-1]) or evaluate_samples(*given)
    )

    def again(**changes):
        judged.clear()
        run_experiment(written(folder, LOSSES, **changes), [], folder / "out", console=QUIET)
        return [read_result(folder / "out" / name / "results" / "paired-default.json") for name in ("l1", "l1+cgan")]

    again()
    assert judged == []
    few = again(evaluate={"count": 4, "split": "val", "extractor": "none"})
    assert judged == ["l1", "l1+cgan"]
    assert [(each.scores[0].count, each.about["split"]) for each in few] == [(4, "val")] * 2
    few[0].model_copy(update={"asked": ""}).save(folder / "out" / "l1" / "results" / "paired-default.json")
    again(evaluate={"count": 4, "split": "val", "extractor": "none"})
    assert judged == ["l1"], "somebody else's result, as that of `diptych evaluate`"
    (folder / "out" / "l1+cgan" / "results" / "paired-default.json").write_text("{")
    again(evaluate={"count": 4, "split": "val", "extractor": "none"})
    assert judged == ["l1+cgan"]
    assert here == []


def test_the_best_checkpoint_is_judged_where_that_is_asked_for(tmp_path, here):
    recipe = {**RECIPE, "evaluate": {"eval_every": 1, "eval_images": 4, "monitor": "psnr"}}
    values = {**LOSSES, "recipe": recipe, "matrix": {"loss": ["l1"]}, "evaluate": {"which": "best"}}
    run_experiment(written(tmp_path, values), [], tmp_path / "out", console=QUIET)
    run = tmp_path / "out" / "l1"
    best = checkpoint.load_newest(run / "checkpoints")[1]["best"]["name"]
    found = read_result(run / "results" / "paired-default.json").about
    assert (found["which"], found["steps"]) == ("best", checkpoint.parse_name(best)[1])


def test_a_palette_that_the_experiment_gives(tmp_path, here):
    root = pairs(tmp_path / "data", 8, 8)
    palette = [*map(list, COLOURS.tolist()), [0, 255, 0]]
    recipe = {**RECIPE, "data": {"root": str(root), "crop_size": 32}}
    values = {"matrix": {"loss": ["l1"]}, "protocol": "label-maps", "evaluate": {"palette": palette}}
    run_experiment(written(tmp_path, {**LOSSES, **values}, recipe=recipe), [], tmp_path / "out", console=QUIET)
    run = tmp_path / "out" / "l1"
    found = read_result(run / "results" / "label-maps.json")
    assert found.tools["palette"] == "#000000 #ff0000 #0080ff #ffffff #00ff00"
    again = tmp_path / "again.json"
    words = ["-p", "label-maps", "--extractor", "none", "--palette", str(palette[:4]), "--out", str(again)]
    assert (
        "the colours of 4 classes: #000000 #ff0000 #0080ff #ffffff\n"
        in diptych("evaluate", run, *words, env={"COLUMNS": "160"}).stdout
    )
    assert read_result(again).tools["palette"] == "#000000 #ff0000 #0080ff #ffffff"


def test_with_a_judge_that_is_trained_first_and_once(tmp_path, here):
    root = pairs(tmp_path / "data", 8, 8)
    recipe = {**RECIPE, "data": {"root": str(root), "direction": "b2a", "crop_size": 32}}
    values = {**LOSSES, "recipe": recipe, "evaluator": SEGMENTER, "protocol": "pix2pix-fcn"}
    out = tmp_path / "out"
    run_experiment(written(tmp_path, values), [], out, console=QUIET)
    assert [words[-1].rpartition("/")[2] for words in here] == ["evaluator", "l1", "l1+cgan"]
    ceiling = read_result(out / "evaluator" / "results" / "label-maps.json").score("mean-iou").value
    for name in ("l1", "l1+cgan"):
        found = read_result(out / name / "results" / "pix2pix-fcn.json")
        assert found.score("mean-iou").ceiling == pytest.approx(ceiling, abs=0.02)
        assert {"fid", "kid"} < {score.name for score in found.scores}, "by the features of the judge"
        assert found.tools["evaluator"].startswith("segmenter ")
    l1 = read_result(out / "l1" / "results" / "pix2pix-fcn.json")
    here.clear()
    run_experiment(written(tmp_path, values), [], out, console=QUIET)
    (out / "l1" / "results" / "pix2pix-fcn.json").unlink()
    run_experiment(written(tmp_path, values, evaluator="out/evaluator"), [], out, console=QUIET)
    again = read_result(out / "l1" / "results" / "pix2pix-fcn.json")
    assert (again.tools, again.scores[0].value) == (l1.tools, l1.scores[0].value)
    assert here == [], "neither runs nor the evaluator are trained again"


@pytest.mark.parametrize("name", ["net.yaml", "nothing"])
def test_an_evaluator_that_does_not_exist_is_refused_before_any_training(tmp_path, here, name):
    with pytest.raises(DiptychError, match=name):
        run_experiment(written(tmp_path, LOSSES, evaluator=name), [], tmp_path / "out", console=QUIET)
    assert here == []
