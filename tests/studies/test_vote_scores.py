"""Votes beside metrics: columns of `diptych compare`, differences, refusals, and correlations over methods."""

import re

import numpy as np
import pytest
from commands import diptych
from compared import NAME, Page, balanced, change, rows_of, run
from scipy import stats
from study_folders import study

from diptych.errors import EvaluationError
from diptych.evaluation.compare.page import compare
from diptych.evaluation.metrics.intervals import Score, difference
from diptych.evaluation.results import read_result
from diptych.evaluation.samples import open_samples
from diptych.seeds import random_state
from diptych.studies.analysis import analyse
from diptych.studies.metric_correlation import kendall_tau, permutation_p
from diptych.studies.rater_bootstrap import estimates, weighted_mean, widened_draws
from diptych.studies.simulate import Population, simulate
from diptych.studies.vote_scores import vote_results

TRUTH = {"blurred": 0.1, "sharp": 0.4, "noisy": 0.2}
L1 = {"blurred": 0.1, "sharp": 0.3, "noisy": 0.2}  # lowest for the method that fools the fewest


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Three runs with metrics, and an analysed study of their samples."""
    folder = tmp_path_factory.mktemp("judged")
    for name, error in L1.items():
        runs = run(folder / name, {"l1": np.full(12, error)}, count=12, run=name)
        change(runs, images=open_samples(runs / "samples" / NAME).images())
    samples = [f"{name}={folder / name / 'samples' / NAME}" for name in L1]
    rules = ["-s", "practice=0", "-s", "trials=10", "-s", "exclude={max_same_answer: 1.0}"]
    diptych("study", "new", *samples, "-o", folder / "study", *rules)
    truths = [word for name, rate in TRUTH.items() for word in ("--truth", f"{name}={rate}")]
    diptych("study", "simulate", folder / "study", *truths, "--raters", 60)
    metrics = [word for name in L1 for word in ("--metrics", folder / name)]
    diptych("study", "analyze", folder / "study", "--simulated", *metrics)
    return folder


def test_votes_are_columns_of_a_comparison(judged, tmp_path):
    runs = [judged / name for name in L1]
    diptych("compare", *runs, "--study", judged / "study", "-o", tmp_path / "out")
    page = Page(tmp_path / "out" / "index.html")
    values = page.table("Values")
    column = next(head for head in values["sharp"] if head.startswith("simulated/rate-fooled "))
    assert "higher" in column
    assert "best" in values["sharp"][column]
    assert values["ceiling: real images"][column].split()[0].startswith("0.5")
    assert "significant: better" in page.table("minus")["sharp"][column]
    assert "Intervals of votes are over participants." in page.raw
    assert "simulated participants: these are not votes of people" in page.raw
    assert len([row for row in rows_of(tmp_path / "out") if row["measure"] == "simulated/rate-fooled"]) == 3
    text = (tmp_path / "out" / "compared.tex").read_text()
    balanced(text)
    assert "votes: over participants" in text
    assert "simulated/rate-fooled" in text


def test_votes_on_other_images_methods_or_translations_are_refused(judged, tmp_path):
    other = run(tmp_path / "sharp", {"l1": np.full(12, 0.1)}, count=12, run="sharp")
    with pytest.raises(EvaluationError, match="about different images: images: test 16 real"):
        compare([other], tmp_path / "out", study=judged / "study")
    images = read_result(judged / "sharp" / "results" / f"{NAME}.json").images
    change(other, images=images, about={**read_result(other / "results" / f"{NAME}.json").about, "steps": 8})
    with pytest.raises(EvaluationError, match="steps: 8 and 4000"):
        compare([other], tmp_path / "out", study=judged / "study")
    with pytest.raises(EvaluationError, match="no votes on it, its methods are blurred, sharp, noisy"):
        compare([run(tmp_path / "unknown")], tmp_path / "out", study=judged / "study")
    with pytest.raises(EvaluationError, match="diptych study analyze"):
        compare([other], tmp_path / "out", study=tmp_path)


def test_the_report_correlates_votes_and_metrics_and_says_what_three_methods_can_show(judged):
    page = (judged / "study" / "report" / "report.html").read_text()
    [low] = re.findall(
        r"<td>simulated/rate-fooled</td><td>l1</td><td>-1\.00 \[-1\.00, (\S+)\]</td><td>3</td><td>0.33</td>", page
    )
    assert -1 <= float(low) < 0, "other participants may exchange the lower two"
    assert "cannot be below 0.33" in page


@pytest.mark.parametrize("tied", [False, True])
def test_tau_and_its_exact_p_are_those_of_scipy(tied):
    random = np.random.default_rng(0)
    for count in (3, 5, 7):
        one, other = random.permutation(count), random.permutation(count) // (2 if tied else 1)
        expected = stats.kendalltau(one, other, method="auto" if tied else "exact")
        assert kendall_tau(one[None], other)[0] == pytest.approx(expected.statistic)
        if not tied:
            assert permutation_p(one, other) == pytest.approx(expected.pvalue)
    assert np.isnan(kendall_tau(np.ones((1, 4)), np.arange(4))[0])


def test_more_methods_than_can_be_counted_get_the_p_of_random_orders():
    assert permutation_p(np.arange(10), np.arange(10)) < 0.001
    assert permutation_p(np.arange(10), np.array([4, 9, 1, 6, 0, 8, 3, 5, 2, 7])) > 0.3


@pytest.mark.parametrize("each", [True, False])
def test_draws_have_the_interval_and_are_paired_where_participants_see_all_methods(tmp_path, each):
    rules = {"practice": 0, "trials": 10, "exclude": {"max_same_answer": 1.0, "min_response_ms": 0}}
    made = study(tmp_path, one_method_each=each, **rules)
    store = made.store("sqlite://")
    simulate(made, store, Population({"one": 0.3, "two": 0.3}, raters=20, icc=0.5))
    analysis = analyse(made, store.answers())
    store.close()
    for result in vote_results(analysis):
        [score], found = result.scores, analysis.included.row("rate fooled", result.name).estimate
        assert np.quantile(score.draws, (0.025, 0.975)) == pytest.approx((found.low, found.high), abs=0.02)
        assert (score.ceiling, score.count) == (0.5, 12)
        assert np.allclose(score.draws, widened_draws(found)) is not each
        assert sorted(score.draws) == pytest.approx(sorted(widened_draws(found)))


def test_a_difference_of_votes_is_rarely_significant_by_chance():
    significant, random = 0, np.random.default_rng(0)
    for _ in range(80):
        own = random.beta(3, 9, (2, 25))  # of each method other participants
        scores = []
        for name, rates in zip("ab", own, strict=True):
            votes = (random.random((25, 20)) < rates[:, None]).ravel()
            [found] = estimates(np.repeat(np.arange(25), 20), weighted_mean(votes), draws=200)
            draws = random_state(0, "draws", name).permutation(widened_draws(found))
            scores.append(Score("rate-fooled", found.value, found.low, found.high, "higher", 12, "bootstrap", draws))
        significant += difference(*scores).significant
    assert 1 <= significant <= 10
