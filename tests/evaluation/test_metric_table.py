"""The table of metrics: one direction for whatever prints, compares and selects; unknown names and small images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from judged import judge, noise, two, values

from diptych.cli.common import print_result
from diptych.contract import Labels
from diptych.contract.metric import HELD_OUT_ERROR, Metric
from diptych.errors import ConfigError, EvaluationError
from diptych.evaluation.compare.read import Entry
from diptych.evaluation.compare.result_tables import best_of
from diptych.evaluation.metrics import lpips
from diptych.evaluation.metrics import table as metric_table
from diptych.evaluation.metrics.intervals import Score, difference, score_per_image
from diptych.evaluation.metrics.table import METRICS, VOTES, metric_of
from diptych.evaluation.protocols import PROTOCOLS, find_protocol, paired_default
from diptych.evaluation.results import read_result
from diptych.evaluation.runner import evaluate_samples
from diptych.evaluation.tools import Tools
from diptych.evaluators.classifier import Classifier
from diptych.training.checkpoint_manager import CheckpointManager
from diptych.workflows import validation

ERRORS = {"error", "l1", "lpips", "l1-to-source", "fid", "kid", "ndb", "jsd", "expression-error", "identity-distance"}
ERRORS |= {"l1-missing", "grey-pixels"}
ERRORS |= {"warping-error", "warping-error-source"}


def edges(fake, truth, valid):
    """An error that no earlier version had: mean difference of the horizontal steps."""
    steps = [each.float().diff(dim=3) for each in (fake, truth)]
    return (steps[0] - steps[1]).abs().mean((1, 2, 3)).double().numpy()


@pytest.fixture
def with_edges(monkeypatch):
    """The error in the table, and in a next version of the protocol of pairs."""
    monkeypatch.setattr(metric_table, "METRICS", {**METRICS, "edges": Metric("edges", edges, "lower", unit="levels")})
    passes = {
        measure: (*names, "edges") if "l1" in names else names
        for measure, names in paired_default.PROTOCOL.metrics.items()
    }
    return replace(paired_default.PROTOCOL, version=2, metrics=passes)


def test_an_added_error_is_printed_compared_and_selected_as_lower_is_better(with_edges, tmp_path, capsys):
    truths = [noise(seed) for seed in range(4)]
    near, far = (
        [np.clip(each.astype(int) + noise(9) // by, 0, 255).astype(np.uint8) for each in truths] for by in (16, 2)
    )
    results = {
        name: evaluate_samples(two(tmp_path / name, fakes, truths), with_edges, Tools(), name)
        for name, fakes in (("near", near), ("far", far))
    }
    assert results["near"].score("edges").value < results["far"].score("edges").value
    print_result(results["near"])
    assert "edges ↓ levels" in capsys.readouterr().out
    entries = [Entry(name, tmp_path / name, result, None) for name, result in results.items()]
    assert best_of(entries, "edges") == {"near"}
    chosen = {name: validation._monitored(result.scores, 1, "edges", with_edges)[1] for name, result in results.items()}
    assert chosen["near"] < chosen["far"], "as an error, of which the lowest is the best checkpoint"
    assert difference(results["near"].score("edges"), results["far"].score("edges")).value < 0


def test_each_metric_that_a_protocol_lists_is_in_the_table_and_errors_are_lower():
    listed = {name for protocol in PROTOCOLS for name in find_protocol(protocol).names()}
    assert listed | {"error", *VOTES} == set(METRICS)
    assert {name for name, metric in METRICS.items() if metric.better == "lower"} == ERRORS
    for metric in METRICS.values():
        assert metric.about
        assert callable(metric.function)
        assert metric.arrow == ("↓" if metric.name in ERRORS else "↑")
    assert METRICS["psnr"].unit == "dB"


@pytest.mark.parametrize(
    ("score", "name"),
    [
        ("l1", "l1"),
        ("colour/L", "colour/L"),
        ("a-b/l1", "l1"),
        ("a-b/colour/a", "colour/a"),
        ("mean/kid", "kid"),
        ("latent/lpips-diversity", "lpips-diversity"),
        ("source/class-accuracy", "class-accuracy"),
        ("accuracy Wearing a hat/cap", "accuracy"),
        ("a-b/accuracy Male", "accuracy"),
    ],
)
def test_a_score_with_a_route_or_an_attribute_is_of_its_metric(score, name):
    assert metric_of(score) is METRICS[name]


@pytest.mark.parametrize("name", ["l2", "a-b/ssmi", "fid x", "", "/", "accuracies"])
def test_a_name_that_is_not_in_the_table_is_an_error_and_never_guessed(name):
    with pytest.raises(EvaluationError, match="unknown metric"):
        metric_of(name)
    with pytest.raises(EvaluationError, match="unknown metric"):
        score_per_image(name, np.arange(4.0))


def test_the_nearest_name_is_told():
    with pytest.raises(EvaluationError, match="did you mean 'ssim'"):
        metric_of("a-b/ssmi")


def test_a_score_cannot_have_another_direction_than_its_metric(tmp_path):
    with pytest.raises(EvaluationError, match="'mean/l1': higher is not better for this metric; lower is better"):
        Score("mean/l1", 1.0, 0.0, 2.0, "higher", 4, "bootstrap", (1.0,))
    pictures = [noise(seed) for seed in range(4)]
    _, result = values("paired-default", two(tmp_path, pictures, pictures))
    path = result.save(tmp_path / "x.json")
    for old, new, message in (
        ('"better": "lower"', '"better": "higher"', "higher is not better"),
        ('"name": "l1"', '"name": "edgy"', "unknown metric 'edgy'"),
    ):
        (tmp_path / "y.json").write_text(path.read_text().replace(old, new, 1))
        with pytest.raises(EvaluationError, match=message) as caught:
            read_result(tmp_path / "y.json")
        assert "y.json" in str(caught.value)


def test_the_trainer_keeps_the_checkpoint_with_the_lowest_error():
    keeper = CheckpointManager.__new__(CheckpointManager)
    for best, error, better in ((None, 0.5, True), (("a", 0.5), 0.4, True), (("a", 0.5), 0.6, False)):
        keeper.best = best
        assert keeper.is_better(error) is better
    assert not keeper.is_better(float("nan"))
    assert METRICS["error"] is HELD_OUT_ERROR
    assert HELD_OUT_ERROR.function([0.1, 0.2]) == (0.1 + 0.2) / 2


@pytest.mark.parametrize(
    ("side", "left_out"),
    [(8, {"ssim": 11, "ms-ssim": 176, "lpips": 31}), (32, {"ms-ssim": 176}), (176, {})],
)
def test_metrics_that_need_larger_images_are_left_out_with_the_reason(tmp_path, side, left_out):
    pictures = [noise(seed, (side, side + 4, 3)) for seed in range(2)]
    found, result = values("paired-default", two(tmp_path, pictures, pictures))
    for name in ("ssim", "ms-ssim", "lpips"):
        line = f"no {name}: it needs {left_out.get(name)} pixels on a side, and the images have {side + 4}x{side}"
        assert (line in result.said) == (name in left_out)
        if name != "lpips":
            assert (name in found) == (name not in left_out)


def test_what_is_left_out_is_said_before_anything_is_computed(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(
        metric_table,
        "METRICS",
        {**METRICS, "l1": Metric("l1", lambda a, b, valid: told.append("l1") or np.zeros(len(a)), "lower")},
    )
    pictures = [noise(seed, (16, 16, 3)) for seed in range(2)]
    values("paired-default", two(tmp_path, pictures, pictures), Tools(log=told.append))
    assert told[0].startswith("no ms-ssim: ")
    assert told.index("l1") == 2


def test_a_border_that_leaves_too_little_is_refused_before_anything_is_computed(tmp_path):
    pictures = [noise(0, (40, 40, 3)), noise(1, (17, 40, 3))]
    with pytest.raises(EvaluationError, match=r"ssim-y needs 11 pixels on a side without 4 .*001\.png has 40x17"):
        values("srgan-y", two(tmp_path, pictures, pictures))
    assert set(values("srgan-y", two(tmp_path / "b", pictures, pictures), Tools(border=3))[0]) == {"psnr-y", "ssim-y"}


def test_alexnet_takes_no_smaller_images_than_the_table_says():
    features = torchvision.models.alexnet().features[: lpips.BACKBONES["alex"].taps[-1] + 1]
    least = METRICS["lpips"].min_side
    assert features(torch.zeros(1, 3, least, least)).numel()
    with pytest.raises(RuntimeError, match="Output size is too small"):
        features(torch.zeros(1, 3, least - 1, least - 1))


def test_a_measure_that_cannot_choose_is_refused_before_training():
    for name, message in (
        ("edgy", "unknown metric 'edgy'"),
        ("ssmi", "did you mean 'ssim'"),
        ("fide", "did you mean 'fid'"),
        ("dice", "not measured by paired-default/1, which measures l1, psnr"),
    ):
        with pytest.raises(ConfigError, match=message):
            validation._check_monitor(name, paired_default.PROTOCOL, 256)
    validation._check_monitor("a-b/kid", paired_default.PROTOCOL, 8)
    with pytest.raises(ConfigError, match="monitor=ms-ssim: it needs images of 176 pixels on a side, and crop_size=64"):
        validation._check_monitor("ms-ssim", paired_default.PROTOCOL, 64)


def test_attributes_of_a_judge_have_the_direction_of_accuracy(tmp_path):
    looks = judge(
        Classifier, labels=(Labels(names=("l1", "Male"), kind="attributes"),), base_channels=4, n_downsample=2
    )
    pictures = [noise(seed) for seed in range(4)]
    samples = two(tmp_path, pictures, pictures)
    rows = [row.model_copy(update={"controls": {"has": "Male"}}) for row in samples.rows]
    _, result = values("classifier-accuracy", replace(samples, rows=tuple(rows)), Tools(evaluator=looks))
    assert [score.name for score in result.scores] == ["accuracy", "accuracy l1", "accuracy Male"]
    assert {score.better for score in result.scores} == {"higher"}
