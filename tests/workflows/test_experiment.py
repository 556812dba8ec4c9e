"""Experiments: planned before the first step, made run by run, gone on with after a stop, and ended in a comparison."""

import os
from types import SimpleNamespace

import pytest
import yaml
from commands import files
from experiments import LOSSES, NAMED, QUIET, RECIPE, SEGMENTER, plan, steps, written
from judged import offline, pairs  # noqa: F401
from material import folder_of

from diptych.errors import ConfigError, RunError
from diptych.evaluation.results import read_result
from diptych.workflows import experiment_runs
from diptych.workflows.experiment import plan_recipes, read_experiment, run_experiment, shipped_experiments
from diptych.workflows.experiment_runs import is_finished, train_runs

# ------------------------------------------------------------------------------------------------------------- planned


def test_a_matrix_makes_every_combination(tmp_path):
    found = plan(tmp_path, LOSSES, matrix={"loss": ["l1", "l1+cgan"], "seed": [0, 7], "lr": [1e-5]})
    assert list(found) == ["l1,0,1e-05", "l1,7,1e-05", "l1+cgan,0,1e-05", "l1+cgan,7,1e-05"]
    assert [recipe.model.loss for recipe in found.values()] == ["l1", "l1", "l1+cgan", "l1+cgan"]
    assert [recipe.train.seed for recipe in found.values()] == [0, 7, 0, 7]
    assert {recipe.model.lr for recipe in found.values()} == {1e-5}
    assert {recipe.model.lambda_l1 for recipe in plan(tmp_path, NAMED).values()} == {100, 200}


def test_values_reach_the_recipe_as_they_are(tmp_path):
    roots = ["123", "it's", "a: b", "x # y", "no", "[a]"]
    found = plan(tmp_path, LOSSES, matrix={"root": roots})
    assert [recipe.data.root for recipe in found.values()] == roots
    assert list(found) == ["123", "it_s", "a_b", "x_y", "no", "a"]
    found = plan(tmp_path, LOSSES, "root=x", matrix={"folders": [["no", "yes"], ["google", "7"]], "flip": [True]})
    assert [recipe.data.folders for recipe in found.values()] == [("no", "yes"), ("google", "7")]


def test_overrides_are_for_all_runs_and_for_what_they_vary_a_list(tmp_path):
    found = plan(tmp_path, LOSSES, "steps=2", "lambda_l1=3")
    assert {(recipe.model.steps, recipe.model.lambda_l1) for recipe in found.values()} == {(2, 3)}
    assert list(plan(tmp_path, LOSSES, "loss=[cgan]")) == ["cgan"]
    assert list(plan(tmp_path, LOSSES, "loss=[gan, l1]", "seed=3")) == ["gan", "l1"]
    for wrong in ("loss=l1", "loss=", "loss={", "loss=l1,gan"):
        with pytest.raises(ConfigError, match=r"this experiment varies loss; give a list of values, as loss=\["):
            plan(tmp_path, LOSSES, wrong)
    with pytest.raises(ConfigError, match=r"run gna: .*loss='gna'"):
        plan(tmp_path, LOSSES, "loss=[gna]")
    with pytest.raises(ConfigError, match=r"matrix: .*loss"):
        plan(tmp_path, LOSSES, "loss=[]")
    with pytest.raises(ConfigError, match="no setting is called 'stesp'; did you mean 'steps'"):
        plan(tmp_path, LOSSES, "stesp=2")


def test_what_a_named_run_sets_itself_stays_and_what_all_set_is_told(tmp_path):
    found = plan(tmp_path, NAMED, "lambda_l1=5")
    assert {name: recipe.model.lambda_l1 for name, recipe in found.items()} == {"plain": 5, "strong": 200}
    with pytest.raises(ConfigError, match="'lambda_l1=5': each run of this experiment sets lambda_l1 itself"):
        plan(tmp_path, NAMED, "lambda_l1=5", runs={"weak": {"lambda_l1": 1}, "strong": {"lambda_l1": 200}})


def test_the_judge_has_the_images_of_the_runs_and_its_own_settings(tmp_path):
    root = pairs(tmp_path / "data", 4, 2)
    values = {
        **LOSSES,
        "recipe": {**RECIPE, "data": {"root": "x", "direction": "b2a", "crop_size": 64}},
        "evaluator": SEGMENTER,
    }
    found = plan(tmp_path, values, f"root={root}", "crop_size=32", "steps=3", protocol="pix2pix-fcn")
    assert list(found) == ["evaluator", "l1", "l1+cgan"]
    judge = found["evaluator"]
    assert (judge.method, judge.data.root, judge.data.crop_size, judge.data.direction) == (
        "segmenter",
        str(root),
        32,
        "a2b",
    )
    assert judge.model.steps == 8
    assert len(judge.model.palette) == 4
    assert {recipe.data.direction for name, recipe in found.items() if name != "evaluator"} == {"b2a"}
    reader = plan(tmp_path, values, evaluator={"method": "classifier"})["evaluator"]
    assert reader.data.direction == "a2b", "to classes a direction says nothing"
    for kind in ("segmentre", "pix2pix", None):
        with pytest.raises(
            ConfigError, match=r"evaluator: .* is not an evaluator.*choose one of classifier, segmenter"
        ):
            plan(tmp_path, values, evaluator={**SEGMENTER, "method": kind})
    with pytest.raises(ConfigError, match="pix2pix-fcn needs an evaluator"):
        plan(tmp_path, LOSSES, protocol="pix2pix-fcn")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocl": "x"}, "no setting is called 'protocl'; did you mean 'protocol'"),
        ({"protocol": "paird-default"}, "unknown protocol 'paird-default'; did you mean 'paired-default'"),
        ({"runs": {"a": {}}}, "either named runs or a matrix"),
        ({"matrix": {}}, "either named runs or a matrix"),
        ({"matrix": {"loss": []}}, r"matrix\.loss"),
        ({"matrix": {"loss": "l1"}}, r"matrix\.loss='l1'"),
        ({"matrix": {"seed": list(range(40)), "loss": ["l1"] * 40}}, "1600 runs; an experiment has at most 1000"),
        ({"matrix": {"seed": [1, 1]}}, "two runs have the name '1'"),
        ({"matrix": {"seed": [1, "1"]}}, "two runs have the name '1'"),
        ({"matrix": {"root": ["/"]}}, "'' is not a valid name"),
        ({"matrix": None, "runs": {"../x": {}}}, "'../x' is not a valid name"),
        ({"matrix": {}, "runs": {"/etc": {}}}, "'/etc' is not a valid name"),
        ({"matrix": {}, "runs": {".hidden": {}}}, "'.hidden' is not a valid name"),
        ({"matrix": {}, "runs": {"evaluator": {}}}, "'evaluator' is not a valid name"),
        ({"matrix": {}, "runs": {"compared": {}}}, "'compared' is not a valid name"),
        ({"matrix": {}, "runs": {"a\x1b[2J": {}}}, r"'a\\x1b\[2J' is not a valid name"),
        (
            {"matrix": {"losss": ["l1"]}},
            "no setting is called 'losss'; did you mean 'loss'",
        ),
        ({"recipe": {"method": "pix2pxi"}}, "no method is called 'pix2pxi'; did you mean 'pix2pix'"),
        ({"recipe": {**RECIPE, "data": None}}, "no data set given"),
        (
            {"recipe": {**RECIPE, "model": {"lambda_l11": 1}}},
            "no setting is called 'lambda_l11'; did you mean 'lambda_l1'",
        ),
        ({"title": ["x"]}, "title"),
        ({"evaluate": {"wich": "best"}}, r"no setting is called 'evaluate.wich'"),
        ({"evaluate": {"which": "newest"}}, "evaluate.which='newest'"),
        ({"evaluate": {"palette": [[0, 0, 256], [0, 0, 0]]}}, r"evaluate\.palette\.0\.2=256"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_made(tmp_path, changes, message):
    values = {key: value for key, value in {**LOSSES, **changes}.items() if value is not None}
    with pytest.raises(ConfigError, match=message):
        run_experiment(written(tmp_path, values), [], tmp_path / "out", console=QUIET)
    assert files(tmp_path) == ["experiment.yaml"]


def test_what_is_no_experiment_is_refused_by_its_path(tmp_path):
    for name, message in (
        (
            "pix2pix-lossse",
            "neither a shipped experiment nor a .yaml file; did you mean 'pix2pix-losses'",
        ),
        (str(tmp_path / "nowhere.yaml"), "nowhere.yaml: the experiment cannot be read"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_experiment(name)
    for text in ("[1, 2]", "a: &x 1\nb: *x", "title: [", "\x00"):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(ConfigError, match=f"{tmp_path}/x.yaml"):
            read_experiment(str(tmp_path / "x.yaml"))


@pytest.mark.parametrize("name", shipped_experiments())
def test_a_shipped_experiment_can_be_planned(name):
    found = read_experiment(name)
    root = found.recipe["data"]["root"]
    where = [] if root == "glyphs" else [f"root={folder_of('DIPTYCH_DATA', 'shared/data') / root}"]
    recipes = plan_recipes(found, where)
    assert list(recipes) == [*(["evaluator"] if found.evaluator else []), *found.variants()]
    assert len(recipes) > 1
    if name.startswith("pix2pix") and found.evaluator:
        assert len(recipes["evaluator"].model.palette) == 12, "classes of the facades"


# ---------------------------------------------------------------------------------------------------------------- made


def test_all_runs_are_made_judged_and_compared(made):
    folder, page, started = made
    out = folder / "out"
    assert page == out / "compared" / "index.html"
    assert [words[0] for words in started] == ["train", "train"]
    results = {name: read_result(out / name / "results" / "paired-default.json") for name in ("l1", "l1+cgan")}
    for name, found in results.items():
        assert found.name == name
        assert steps(out / name) == [2, 4]
        assert [score.name for score in found.scores][:2] == ["l1", "psnr"]
        assert found.about["split"] == "test"
    assert len({found.about["sources"] for found in results.values()}) == 1
    assert "l1+cgan" in page.read_text()
    assert results["l1"].said == results["l1+cgan"].said


def test_what_is_finished_is_not_made_again(made, here):
    folder, page, _ = made
    before = {name: (folder / "out" / name / "events.jsonl").read_text() for name in ("l1", "l1+cgan")}
    assert run_experiment(written(folder, LOSSES), [], folder / "out", console=QUIET) == page
    assert here == []
    for name, text in before.items():
        assert (folder / "out" / name / "events.jsonl").read_text() == text
    more = run_experiment(written(folder, LOSSES), ["loss=[l1,gan]"], folder / "out", console=QUIET)
    assert [words[-1] for words in here] == [str(folder / "out" / "gan")], "one run more, in the same folder"
    assert "gan" in more.read_text()


def test_other_settings_are_refused_by_the_name_of_the_file(made, here):
    folder, _, _ = made
    larger = {"recipe": {**RECIPE, "data": {"root": "glyphs", "crop_size": 64}}}
    for overrides, changes, told in (
        (["steps=6", "seed=1"], {}, "steps: 4, not 6; seed: 0, not 1"),
        ([], larger, "crop_size: 32, not 64"),
    ):
        words = rf"{folder}/out/l1.yaml: this folder holds an experiment with other settings \({told}\); choose"
        with pytest.raises(ConfigError, match=words):
            run_experiment(written(folder, LOSSES, **changes), overrides, folder / "out", console=QUIET)
    assert here == []


def test_a_setting_that_older_files_do_not_have_is_taken_as_usual(made, here):
    folder, page, _ = made
    file = folder / "out" / "l1.yaml"
    values = yaml.safe_load(file.read_text())
    del values["train"]["rank_timeout_minutes"], values["evaluate"]
    file.write_text(yaml.safe_dump(values))
    assert run_experiment(written(folder, LOSSES), [], folder / "out", console=QUIET) == page
    assert {"rank_timeout_minutes:", "extractor:"} <= set(file.read_text().split())
    assert here == []


def test_a_run_that_fails_does_not_stop_the_others(tmp_path, here):
    values = {**NAMED, "runs": {"bad": {"lr": 1e30}, "good": {}}}
    out = tmp_path / "out"
    for words in (["train", "train"], ["resume"]):
        with pytest.raises(RunError, match=r"1 of 2 runs failed: bad; error: .*is not finite") as caught:
            run_experiment(written(tmp_path, values), [], out, console=QUIET)
        assert [command[0] for command in here] == words
        here.clear()
        assert is_finished(out / "good")
        assert not is_finished(out / "bad")
    assert "\n" not in str(caught.value)
    assert "not finite" in (out / "bad.log").read_text()
    assert not (out / "compared").exists()


def test_a_run_that_had_enough_is_finished(tmp_path, here):
    """`stop_after` ends it before its last step, and the next call takes none more."""
    still = {"norm": "instance", "d_norm": "instance", "dropout": "none", "lr": 1e-12, "steps": 50}
    recipe = {
        **RECIPE,
        "model": {**RECIPE["model"], **still},
        "evaluate": {"eval_every": 1, "patience_evals": 2, "eval_images": 4},
    }
    values = {"title": "t", "recipe": recipe, "runs": {"a": {}}, "protocol": "thin-structures"}
    for started in (["train"], []):
        run_experiment(written(tmp_path, values), [], tmp_path / "out", console=QUIET)
        assert [words[0] for words in here] == started
        assert steps(tmp_path / "out" / "a")[-1] == 2
        here.clear()


# ------------------------------------------------------------------------------------------------------------- at once


class Slow:
    """A training that ends after some looks at it, and says then how much memory it took."""

    running, most, environments = 0, 0, []

    def __init__(self, command, stdout, stderr, env, **_):
        type(self).running += 1
        type(self).most = max(self.most, self.running)
        self.environments.append(env.get("OMP_NUM_THREADS"))
        self.left, self.returncode = 20, None
        self.folder = command[-1]
        os.makedirs(self.folder, exist_ok=True)

    def poll(self):
        if self.returncode is None:
            self.left -= 1
            if self.left == 17:
                with open(f"{self.folder}/events.jsonl", "w") as file:
                    file.write('{"event": "step", "step": 1, "peak_gib": 3.0}\n')
            if not self.left:
                type(self).running -= 1
                self.returncode = 0
        return self.returncode


@pytest.mark.parametrize(("at_once", "free", "most"), [(1, 100, 1), (2, 100, 2), (3, 100, 3), (3, 3.7, 1), (3, 3.8, 3)])
def test_several_runs_at_once_where_memory_allows(tmp_path, monkeypatch, at_once, free, most):
    """Each as large as the hungriest that runs, with a quarter to spare."""
    monkeypatch.setattr(experiment_runs, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(experiment_runs, "subprocess", SimpleNamespace(Popen=Slow))
    monkeypatch.setattr(experiment_runs, "free_gib", lambda: free)
    monkeypatch.setattr(experiment_runs, "cores", lambda: 4)
    for name, value in (("running", 0), ("most", 0), ("environments", [])):
        monkeypatch.setattr(Slow, name, value)
    recipes = plan(tmp_path, LOSSES, matrix={"seed": list(range(5))})
    (tmp_path / "out").mkdir()
    train_runs(recipes, tmp_path / "out", at_once, QUIET)
    assert (Slow.most, len(Slow.environments)) == (most, 5)
    assert set(Slow.environments) == {os.environ["OMP_NUM_THREADS"] if at_once == 1 else str(max(1, 4 // at_once))}
