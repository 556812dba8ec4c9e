"""Validation during training: what is logged, which checkpoint is the best, and early stopping."""

import math
import signal

import pytest
import torch
from commands import TINY, as_rank, diptych, files, numbers
from judged import CYCLEGAN, LITTLE, fill, offline, trained  # noqa: F401

from diptych.errors import ConfigError, EvaluationError
from diptych.evaluation.protocols import find_protocol
from diptych.evaluation.runner import SampleRequest, evaluate_samples, sample_run
from diptych.evaluation.tools import Tools
from diptych.runs import checkpoint
from diptych.runs.events import read_events
from diptych.runs.folder import Run
from diptych.settings.recipe import from_file, load_recipe
from diptych.testing.processes import run_in_new_processes
from diptych.training.engine import Engine
from diptych.workflows import train as launch

PLAIN = [*TINY, "precision=fp32", "log_every=2", "preview_every=1000"]
STILL = ["norm=instance", "d_norm=instance", "dropout=none", "lr=1e-12"]  # nothing moves, so nothing becomes better


def train(folder, *settings):
    return diptych("train", "pix2pix", *PLAIN, *settings, "-o", folder)


def judged(folder):
    return [event for event in read_events(folder / "events.jsonl") if event["event"] == "evaluation"]


def steps(folder):
    return [event["step"] for event in judged(folder)]


def newest(folder):
    return checkpoint.load_newest(folder / "checkpoints")


def best(folder):
    found = newest(folder)[1]["best"]
    return checkpoint.parse_name(found["name"])[1], found["error"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert train(folder, "steps=5", "eval_every=2", "eval_images=6", "monitor=psnr", "lr=0.01").exit_code == 0
    return folder


@pytest.fixture
def told(monkeypatch):
    """Let the value of each judgement, from the one before the first step on, be what the test says."""

    def tell(*errors):
        left = iter(errors)

        def examine(method, device):
            error = next(left)
            if isinstance(error, Exception):
                raise error
            return {"x": error}, "x", error

        monkeypatch.setattr(launch, "validator", lambda recipe, method, data, device: examine)

    return tell


# ------------------------------------------------------------------------------------------------------------- the log


def test_held_out_images_are_judged_at_the_start_every_so_often_and_at_the_end(run):
    assert steps(run) == [0, 2, 4, 5]
    for event in judged(run):
        assert (event["stage"], event["chosen"]) == ("train", "psnr")
        assert list(event["scores"]) == ["l1", "psnr", "ssim"]


def test_the_report_shows_what_was_measured_and_how_often(run, tmp_path):
    page = (run / "report.html").read_text()
    assert "Score psnr of held-out images by step." in page
    for key, value in (("eval_every", 2), ("eval_images", 6), ("monitor", "psnr")):
        assert f'<th scope="row">{key}</th><td>{value}</td>' in page
    train(tmp_path / "run", "steps=1")
    assert "of held-out images by step" not in (tmp_path / "run" / "report.html").read_text()


def test_the_numbers_are_those_of_diptych_evaluate(run, tmp_path):
    samples = sample_run(Run.open(run), tmp_path / "s", SampleRequest(split="val", count=6))
    result = evaluate_samples(samples, find_protocol("paired-default"), Tools(), "run")
    assert judged(run)[-1]["scores"] == pytest.approx({score.name: score.value for score in result.scores}, abs=1e-6)


def test_without_every_nothing_is_judged(tmp_path):
    train(tmp_path / "run", "steps=2")
    assert judged(tmp_path / "run") == []


def test_another_protocol_with_a_judge(tmp_path):
    domains = trained(
        tmp_path / "judge", "classifier", "root=glyphs:sans/serif-bolditalic", "steps=5", "base_channels=4"
    )
    words = ["steps=2", "eval_every=2", "eval_images=8", f"evaluator={domains.folder}", "protocol=unpaired-default"]
    train(tmp_path / "run", *words, f"extractor={domains.folder}", "monitor=taken-for-target")
    event = judged(tmp_path / "run")[-1]
    assert set(event["scores"]) == {"taken-for-target", "fid", "kid", "precision", "recall"}
    assert event["chosen"] == "taken-for-target"
    assert best(tmp_path / "run") == (2, -event["scores"]["taken-for-target"])


# -------------------------------------------------------------------------------------------------- the best checkpoint


@pytest.mark.parametrize(("measure", "sign"), [("psnr", -1), ("l1", 1), (None, 1), ("dice", -1)])
def test_the_best_is_the_best_by_the_measure_that_was_asked_for(tmp_path, measure, sign):
    words = ["steps=6", "eval_every=1", "eval_images=4", "lr=0.02", "preview_every=1"]
    asked = [f"monitor={measure}"] if measure else []
    train(tmp_path / "run", *words, *asked, *(["protocol=thin-structures"] if measure == "dice" else []))
    values = {event["step"]: sign * event["scores"][measure or "l1"] for event in judged(tmp_path / "run")[1:]}
    step, error = best(tmp_path / "run")
    assert error == pytest.approx(min(values.values()), abs=1e-6)
    assert values[step] == min(values.values())
    assert (tmp_path / "run" / "checkpoints" / checkpoint.file_name(0, step)).is_file()


def test_previews_choose_nothing_where_judgements_do(told, tmp_path):
    told(9.0, 0.9, 0.2, 0.7, 0.1, 0.5)
    train(tmp_path / "run", "steps=5", "eval_every=1", "preview_every=1", "eval_images=4")
    assert best(tmp_path / "run") == (4, 0.1)
    assert newest(tmp_path / "run")[1]["step"] == 5
    made = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert checkpoint.file_name(0, 4) in made


def test_with_another_measure_the_best_is_chosen_anew(tmp_path):
    """A PSNR of 20 would be better than any L1 for ever."""
    run = tmp_path / "run"
    train(run, "steps=4", "eval_every=2", "eval_images=4", "monitor=psnr")
    assert best(run)[1] < -1
    words = ["steps=6", "monitor=l1", "--allow", "steps", "--allow", "monitor"]
    assert diptych("resume", run, *words).exit_code == 0
    assert best(run) == (6, pytest.approx(judged(run)[-1]["scores"]["l1"], abs=1e-6))
    train(tmp_path / "without", "steps=4", "preview_every=2")
    assert 0 < best(tmp_path / "without")[1] < 2
    words = [
        "steps=6",
        "eval_every=2",
        "eval_images=4",
        "monitor=psnr",
        *(f"--allow={key}" for key in ("steps", "eval_every", "monitor", "eval_images")),
    ]
    assert diptych("resume", tmp_path / "without", *words).exit_code == 0
    assert best(tmp_path / "without")[1] < -1


# ------------------------------------------------------------------------------------------------------ what is wrong


def test_a_wrong_measure_is_told_before_the_first_step(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"monitor=fid: not measured; there are l1, psnr, ssim"):  # without extractor
        train(run, "steps=4", "eval_every=2", "eval_images=4", "monitor=fid")
    assert list(read_events(run / "events.jsonl")) == []
    assert newest(run)[1]["step"] == 0
    assert diptych("resume", run, "monitor=psnr", "--allow", "monitor").exit_code == 0
    assert steps(run) == [0, 2, 4]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["protocol=paird-default", "eval_every=2"], "did you mean 'paired-default'"),
        (["protocol=pix2pix-fcn", "eval_every=2"], "needs an evaluator network"),
        (
            ["protocol=unconditional", "eval_every=2"],
            "protocol=unconditional and pix2pix: this protocol is for methods that generate images",
        ),
        (["extractor=inceptoin", "eval_every=2"], "unknown extractor 'inceptoin'"),
        (["monitor=psnr"], "monitor .*eval_every=STEPS"),
        (["patience_evals=3"], "patience_evals .*eval_every=STEPS"),
        (["eval_every=2", "monitor=psnrr"], "monitor=psnrr: .*did you mean 'psnr'"),
        (["eval_every=2", "monitor=dice"], "monitor=dice: not measured by paired-default/1, which measures l1, psnr"),
        (
            ["eval_every=2", "monitor=ms-ssim"],
            "monitor=ms-ssim: it needs images of 176 pixels on a side, and crop_size=32",
        ),
        (["eval_every=0"], "eval_every=0"),
        (["eval_every=2", "eval_images=3"], "eval_images=3"),
        (["eval_every=2", "patience_eval=3"], "no setting is called 'patience_eval'; did you mean 'patience_evals'"),
    ],
)
def test_settings_that_cannot_be_meant(tmp_path, settings, message):
    with pytest.raises((ConfigError, EvaluationError), match=message):
        train(tmp_path / "run", "steps=2", *settings)
    assert [name for name in files(tmp_path) if "00000001" in name or "00000002" in name] == []


def test_where_nothing_can_be_measured_the_first_step_is_not_taken(tmp_path):
    for number, name in enumerate(("trainA", "trainB", "testA", "testB")):
        fill(tmp_path / "data" / name, 4, 10 * number, shape=(32, 32, 1))
    words = [*CYCLEGAN, *LITTLE, "steps=2", "eval_every=1"]
    with pytest.raises(EvaluationError, match="unpaired-default/1 has no metric for these images"):
        diptych("train", "cyclegan", f"root={tmp_path / 'data'}", *words, "-o", tmp_path / "run")
    assert list(read_events(tmp_path / "run" / "events.jsonl")) == []


def test_a_judge_that_is_lacking_is_told_before_anything_is_translated(tmp_path, monkeypatch):
    monkeypatch.setattr("diptych.workflows.validation.sample_split", None)
    with pytest.raises(EvaluationError, match="needs an evaluator network"):
        train(tmp_path / "run", "steps=2", "eval_every=1", "protocol=pix2pix-fcn")


def test_without_pairs_the_best_is_not_chosen_by_colours_unless_asked(tmp_path):
    """By what a judge says or by KID, over both directions."""
    for number, name in enumerate(("trainA", "trainB", "testA", "testB")):
        fill(tmp_path / "data" / name, 8, 10 * number)
    domains = trained(
        tmp_path / "judge", "classifier", f"root={tmp_path / 'data'}", "steps=2", "base_channels=4", "n_downsample=2"
    )
    words = [f"root={tmp_path / 'data'}", *CYCLEGAN, *LITTLE, "steps=2", "eval_every=2"]
    with pytest.raises(ConfigError, match=r"measured colour/L, colour/a, colour/b, none of which .*extractor=NAME"):
        diptych("train", "cyclegan", *words, "-o", tmp_path / "none")
    assert list(read_events(tmp_path / "none" / "events.jsonl")) == []
    cases = {
        "kid": [f"extractor={domains.folder}"],
        "taken-for-target": [f"evaluator={domains.folder}"],
        "colour/L": ["monitor=colour/L"],
        "b-a/colour/L": ["monitor=b-a/colour/L"],
    }
    for name, asked in cases.items():
        run = tmp_path / name.replace("/", "-")
        assert diptych("train", "cyclegan", *words, *asked, "-o", run).exit_code == 0
        event = judged(run)[-1]
        assert event["chosen"] == name
        found = [value for key, value in event["scores"].items() if key == name or key.partition("/")[2] == name]
        assert len(found) == (1 if name == "b-a/colour/L" else 2)
        error = sum(found) / len(found) * (1 if name == "kid" else -1)
        assert best(run) == (2, pytest.approx(error, abs=1e-5))


@pytest.mark.parametrize("error", [EvaluationError("cannot be measured"), ConfigError("not measured")])
def test_a_judgement_that_fails_later_loses_no_step(told, tmp_path, error):
    told(0.9, 0.8, error)
    with pytest.raises(type(error), match="measured"):
        train(tmp_path / "run", "steps=9", "eval_every=3", "eval_images=4")
    assert newest(tmp_path / "run")[1]["step"] == 6


# ------------------------------------------------------------------------------------------------------------- enough


def test_it_ends_when_nothing_has_become_better_for_long_enough(told, tmp_path):
    run = tmp_path / "run"
    told(9.0, 0.5, 0.4, 0.6, 0.4, 0.5, *[0.1] * 20)
    done = train(run, "steps=40", "eval_every=2", "eval_images=4", "patience_evals=3")
    assert done.exit_code == 0
    assert "early stop: x has not improved since step 4" in done.stdout
    assert "done: " in done.stdout
    assert steps(run) == [0, 2, 4, 6, 8, 10]
    assert newest(run)[1]["step"] == 10
    assert best(run) == (4, 0.4)
    assert {"model/config.json", "report.html"} < set(files(run))
    before = (run / "events.jsonl").read_text(), newest(run)[1]
    assert diptych("resume", run).exit_code == 0
    assert ((run / "events.jsonl").read_text(), newest(run)[1]) == before, "it was enough, and still is"
    told(0.3, 0.4, 0.4, *[0.4] * 20)
    diptych("resume", run, "patience_evals=4", "--allow", "patience_evals")
    assert best(run) == (12, 0.3)
    assert newest(run)[1]["step"] == 20


def test_what_becomes_better_goes_on_to_the_end(told, tmp_path):
    told(*(1 / (n + 1) for n in range(20)))
    train(tmp_path / "run", "steps=6", "eval_every=1", "eval_images=4", "patience_evals=1")
    assert newest(tmp_path / "run")[1]["step"] == 6
    told(9.0, math.nan, math.nan, 0.5, 0.6)
    train(tmp_path / "other", "steps=4", "eval_every=1", "eval_images=4", "patience_evals=2")
    assert best(tmp_path / "other") == (3, 0.5), "what is no number is not better than nothing"


def test_real_weights_that_do_not_move_are_enough(tmp_path):
    train(tmp_path / "run", *STILL, "steps=40", "eval_every=1", "eval_images=4", "patience_evals=2", "log_every=1")
    assert newest(tmp_path / "run")[1]["step"] == 3


# --------------------------------------------------------------------------------------- training is not disturbed


def weights(folder):
    return newest(folder)[0]


def test_the_weights_are_those_of_a_run_that_was_not_judged(tmp_path):
    """With dropout and batch norm: judging takes nothing of chance, and leaves nothing in the networks."""
    for name, settings in (("plain", []), ("judged", ["eval_every=1", "eval_images=4"])):
        train(tmp_path / name, "steps=5", *settings)
    one, other = weights(tmp_path / "plain"), weights(tmp_path / "judged")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_that_was_stopped_comes_to_the_same_judgements(run, tmp_path, monkeypatch):
    plain = Engine.train_step

    def take(self, batch):
        if self.step == 2:
            signal.raise_signal(signal.SIGTERM)
        plain(self, batch)

    monkeypatch.setattr(Engine, "train_step", take)
    stopped = train(tmp_path / "run", "steps=5", "eval_every=2", "eval_images=6", "monitor=psnr", "lr=0.01")
    assert stopped.exit_code == 128 + signal.SIGTERM
    assert steps(tmp_path / "run") == [0, 2]
    monkeypatch.undo()
    assert diptych("resume", tmp_path / "run").exit_code == 0
    assert [event["scores"] for event in judged(tmp_path / "run")] == [event["scores"] for event in judged(run)]
    assert best(tmp_path / "run") == best(run)
    one, other = weights(tmp_path / "run"), weights(run)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_two_ranks_are_judged_once_and_end_together(tmp_path):
    settings = [
        *PLAIN,
        *STILL,
        "steps=400",
        "eval_every=2",
        "eval_images=4",
        "patience_evals=2",
        "rank_timeout_minutes=5",
    ]
    words = ("train", "pix2pix", *settings, "-o", tmp_path / "run")
    assert run_in_new_processes(as_rank, *words, ranks=2) == [0, 0]
    assert steps(tmp_path / "run") == [0, 2, 4, 6, 8, 10], "asked every ten steps"
    assert newest(tmp_path / "run")[1]["step"] == 10


def test_the_settings_come_back_from_a_run_and_from_a_file(run, tmp_path):
    chosen = load_recipe("pix2pix", ["root=glyphs", "eval_every=5", "patience_evals=2", "monitor=l1", "eval_images=9"])
    wanted = {"eval_every": 5, "monitor": "l1", "patience_evals": 2, "eval_images": 9, "extractor": "none"}
    wanted["eval_controls"] = {}
    assert chosen.settings()["evaluate"] == wanted
    (tmp_path / "x.yaml").write_text("method: pix2pix\ndata: {root: glyphs}\nevaluate: {eval_every: 5, monitr: l1}\n")
    with pytest.raises(ConfigError, match=r"no setting is called 'monitr'; did you mean 'monitor'"):
        from_file(tmp_path / "x.yaml")
    assert Run.open(run).settings()["evaluate"]["monitor"] == "psnr"
    assert [line[0] for line in numbers(run)].count("evaluation") == 4
