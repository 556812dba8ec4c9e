"""Controls of every translation of an evaluation, and sources of the translations of other tools."""

import json

import numpy as np
import pytest
from commands import TINY, diptych
from judged import fill, judge, label_map, noise, offline, pairs, photograph  # noqa: F401

import diptych as library
from diptych.cli.json_output import comparison_json
from diptych.data.images import image_io
from diptych.errors import ConfigError, EvaluationError
from diptych.evaluation.compare.export import as_csv
from diptych.evaluation.compare.read import read_runs
from diptych.evaluation.compare.result_tables import score_tables
from diptych.evaluation.protocols import find_protocol, same_controls
from diptych.evaluation.runner import SampleRequest, evaluate_samples
from diptych.evaluation.samples import TranslationJob, open_samples
from diptych.evaluation.tools import Tools
from diptych.evaluation.two_folders import two_folders
from diptych.evaluators.segmenter import Segmenter
from diptych.runs.events import read_events
from diptych.workflows.evaluate_runs import EvaluationSettings

PAPER = ["-c", "inference=paper", "-c", "seed=3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run evaluated before its first step with the dropout and the batch statistics of the paper."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    data = pairs(folder.parent / "data", 4, 4)
    settings = [*TINY[1:], "-d", data, "steps=1", "eval_every=1", "eval_images=4", "eval_controls={inference: paper}"]
    assert diptych("train", "pix2pix", *settings, "monitor=l1", "-o", folder).exit_code == 0
    return folder


def test_controls_change_the_translations_and_are_stored_with_each(run, tmp_path):
    for name, words in (("plain", []), ("paper", PAPER)):
        assert diptych("predict", run, "-o", tmp_path / name, "--count", 2, "--device", "cpu", *words).exit_code == 0
    plain, paper = open_samples(tmp_path / "plain"), open_samples(tmp_path / "paper")
    assert [row.controls for row in paper.rows] == [{"inference": "paper", "seed": 3}] * 2
    assert (plain.about.get("controls"), paper.about["controls"]) == (None, "inference=paper seed=3")
    pixels = [image_io.read(samples.files("fake")[0]) for samples in (plain, paper)]
    assert not np.array_equal(*pixels)


def test_results_and_comparisons_have_the_controls(run, tmp_path):
    words = ["evaluate", run, "--extractor", "none", "--count", 4, "--device", "cpu"]
    assert diptych(*words, *PAPER).exit_code == 0
    result = json.loads((run / "results" / "paired-default.json").read_text())
    assert result["about"]["controls"] == "inference=paper seed=3"
    assert "translated with inference=paper seed=3" in result["said"]
    with pytest.raises(EvaluationError, match="controls: inference=paper seed=3 and None"):
        diptych(*words)
    entries = read_runs([run])
    assert comparison_json(entries)["runs"][0]["controls"] == "inference=paper seed=3"
    assert "inference=paper seed=3" in str(list(score_tables(entries, entries)))
    assert "run,controls,inference=paper seed=3," in as_csv(entries)
    options = {"extractor": "none", "device": "cpu", "out": tmp_path / "r.json"}
    assert library.evaluate(run, controls={"seed": 1}, **options).about["controls"] == "seed=1"
    assert "inference" in (run / "config.yaml").read_text()


def test_evaluation_while_training_uses_its_controls(run):
    """Batch statistics and dropout of the paper, so that the values are not those of the default."""
    last = [event for event in read_events(run / "events.jsonl") if event["event"] == "evaluation"][-1]
    values = [
        library.evaluate(run, controls=controls, extractor="none", device="cpu", out=run / "r.json").score("l1").value
        for controls in ({"inference": "paper"}, {})
    ]
    assert last["scores"]["l1"] == pytest.approx(values[0], abs=1e-5)
    assert abs(values[0] - values[1]) > 1e-4
    with pytest.raises(ConfigError, match=r"eval_controls has no effect without .*eval_every=STEPS"):
        diptych("train", "pix2pix", *TINY, "steps=1", "eval_controls={inference: paper}", "-o", run / "x")
    with pytest.raises(ConfigError, match="no control 'inferense'"):
        diptych("train", "pix2pix", *TINY, "eval_every=1", "eval_controls={inferense: paper}", "-o", run / "x")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-c", "inference=pape"], "inference='pape': choose one of"),
        (["-c", "seed=x"], "seed=x: expected int"),
        (["-c", "inference"], "--control inference: expected key=value"),
    ],
)
def test_wrong_controls_are_refused(run, tmp_path, words, message):
    with pytest.raises(ConfigError, match=message):
        diptych("predict", run, "-o", tmp_path / "out", "--device", "cpu", *words)
    with pytest.raises(ConfigError, match=message):
        diptych("experiment", "pix2pix-losses", "-d", run.parent / "data", "-o", tmp_path / "e", *words)


def test_controls_of_the_protocol_are_refused():
    job = TranslationJob("a-b", ("x",), ("y",), False, same_controls({"direction": "a2b"}), ("a", "b"))
    assert job.with_controls({"seed": 2}).choices(0) == [{"direction": "a2b", "seed": 2}]
    with pytest.raises(EvaluationError, match="control direction: the protocol sets it"):
        job.with_controls({"direction": "b2a"})


def test_requests_and_experiments_without_controls_keep_their_keys():
    assert "controls" not in SampleRequest().key()
    assert SampleRequest(controls={"seed": 1}).key()["controls"] == {"seed": 1}
    settings = EvaluationSettings(controls={"inference": "exact"})
    assert "controls" not in EvaluationSettings().key()
    assert settings.with_controls({"seed": 1}).key()["controls"] == {"inference": "exact", "seed": 1}


def test_folders_with_sources_have_an_fcn_score(tmp_path):
    fill(tmp_path / "maps", 4, make=label_map)
    fill(tmp_path / "real", 3, make=photograph)
    fill(tmp_path / "fake", 3, 50)
    palette = ((0, 0, 0), (255, 0, 0), (0, 128, 255), (255, 255, 255))
    segmenter = judge(Segmenter, palette=palette, base_channels=4, n_downsample=2, norm="instance")
    samples = two_folders(tmp_path / "real", tmp_path / "fake", tmp_path / "maps")
    assert samples.images().keys() == {"real", "source"}
    result = evaluate_samples(samples, find_protocol("pix2pix-fcn"), Tools(evaluator=segmenter), "other")
    assert 0 <= result.score("pixel-accuracy").value <= 1
    image_io.write(tmp_path / "fake" / "new.png", noise(1))
    with pytest.raises(EvaluationError, match=r"maps: no source image of 1 translations \(new\)"):
        two_folders(tmp_path / "real", tmp_path / "fake", tmp_path / "maps")
    for call in (
        lambda: diptych("evaluate", tmp_path, "--source", tmp_path),
        lambda: library.evaluate(tmp_path, sources=tmp_path),
    ):
        with pytest.raises(EvaluationError, match=r"source.* names the source images of .*fake"):
            call()
