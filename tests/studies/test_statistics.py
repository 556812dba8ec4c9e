"""Statistics of studies against published examples, independent computations and simulated raters of known ability."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import ConfigError, StudyError
from diptych.studies.agreement import krippendorff_alpha
from diptych.studies.choices import Choices, intransitive, strengths
from diptych.studies.design import Exclusion, design_of
from diptych.studies.detection import forced_choice_d_prime, holm, sign_test, yes_no_d_prime
from diptych.studies.opinion_scores import mean_opinion_scores, normalised, screened
from diptych.studies.power import Budget, attention_power, half_width, power, votes_needed
from diptych.studies.presets import PRESETS
from diptych.studies.rater_bootstrap import estimates, expanded_tail, weighted_mean


def votes_of(random, raters, each, rate, icc):
    """Return votes and raters (N,): the rate of a rater is of a beta distribution with this intraclass correlation."""
    size = 1 / icc - 1
    rates = random.beta(rate * size, (1 - rate) * size, raters)
    return (random.random((raters, each)) < rates[:, None]).ravel(), np.repeat(np.arange(raters), each)


@pytest.mark.parametrize("raters", [10, 40])
def test_intervals_cover_the_rate_and_those_of_independent_votes_do_not(raters):
    random, studies = np.random.default_rng(0), 100
    covered = naive = 0
    for _ in range(studies):
        votes, names = votes_of(random, raters, 40, 0.25, 0.2)
        [found] = estimates(names, weighted_mean(votes), draws=200)
        covered += found.low <= 0.25 <= found.high
        naive += abs(votes.mean() - 0.25) <= 1.96 * np.sqrt(votes.mean() * (1 - votes.mean()) / len(votes))
    assert covered / studies >= 0.9
    assert naive / studies <= 0.7


def test_the_interval_is_wider_with_few_raters():
    assert expanded_tail(5) < expanded_tail(30) < expanded_tail(10_000) == pytest.approx(0.025, abs=1e-4)


def test_one_rater_has_no_interval():
    with pytest.raises(StudyError, match="1 raters are too few"):
        estimates(np.zeros(5), weighted_mean(np.ones(5)))


def test_a_mean_does_not_depend_on_the_names_or_order_of_raters():
    votes, raters = np.array([1, 0, 1, 1, 0, 0]), np.array([0, 0, 1, 1, 2, 2])
    names, order = np.array(["b", "b", "d", "d", "z", "z"]), [4, 1, 0, 5, 3, 2]
    first, second = estimates(raters, weighted_mean(votes)), estimates(names[order], weighted_mean(votes[order]))
    assert [(found.value, found.votes, found.raters) for found in first] == [(0.5, 6, 3)]
    assert first == second


TRUE = np.array([0.6, 0.1, -0.2, -0.5])


def choices_of(random, positions, trials=3000, position_term=0.0):
    shown = np.argsort(random.random((trials, len(TRUE))))[:, :positions]
    scores = TRUE[shown] + position_term * (np.arange(positions) > 0)
    picked = (scores + random.gumbel(size=scores.shape)).argmax(1)
    return Choices(tuple("abcd"), shown, np.eye(positions)[picked], np.arange(trials) % 30)


@pytest.mark.parametrize(("positions", "term"), [(2, 0.0), (2, 0.5), (4, 0.3)])
def test_strengths_and_the_preference_for_a_position_are_found(positions, term):
    found, positional = strengths(choices_of(np.random.default_rng(positions), positions, position_term=term))
    for method, true in zip("abcd", TRUE, strict=True):
        assert found[method].value == pytest.approx(true, abs=0.15)
    assert sum(found[method].value for method in "abcd") == pytest.approx(0, abs=1e-5)
    assert len(positional) == positions - 1
    for estimate in positional:
        assert estimate.low - 0.05 < term < estimate.high + 0.05


def test_two_methods_give_the_logarithm_of_the_odds():
    chosen = np.array([[1.0, 0.0]] * 30 + [[0.0, 1.0]] * 10 + [[0.5, 0.5]] * 20)
    shown = np.array([[0, 1]] * 60)
    swapped = Choices(
        ("a", "b"), np.vstack([shown, shown[:, ::-1]]), np.vstack([chosen, chosen[:, ::-1]]), np.arange(120)
    )
    found, [side] = strengths(swapped)
    assert found["a"].value - found["b"].value == pytest.approx(np.log(40 / 20), abs=1e-3)
    assert side.value == pytest.approx(0, abs=1e-6)


def test_a_method_that_always_wins_has_a_finite_strength():
    shown = np.array([[0, 1], [1, 0]] * 10)
    found, _ = strengths(Choices(("a", "b"), shown, (shown == 0).astype(float), np.arange(20)))
    assert 3 < found["a"].value < 10


def test_methods_that_were_never_compared_are_named():
    with pytest.raises(StudyError, match="c, d was never compared"):
        Choices(tuple("abcd"), np.array([[0, 1], [2, 3]]), np.array([[1.0, 0.0]] * 2), np.arange(2))


def test_a_circle_of_preferences_is_told():
    shown = np.array([[0, 1], [1, 2], [2, 0]] * 3)
    circle = Choices(("a", "b", "c"), shown, np.array([[1.0, 0.0]] * 9), np.arange(9))
    assert intransitive(circle) == [("a", "b", "c")]
    assert intransitive(choices_of(np.random.default_rng(0), 2)) == []


KRIPPENDORFF = """1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 ."""


@pytest.mark.parametrize(("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_the_published_example(scale, alpha):
    answers = [
        (unit, int(answer))
        for row in KRIPPENDORFF.splitlines()
        for unit, answer in enumerate(row.split())
        if answer != "."
    ]
    assert krippendorff_alpha([b for _, b in answers], [a for a, _ in answers], scale) == pytest.approx(alpha, abs=1e-3)


def test_alpha_of_agreement_chance_and_single_votes():
    assert krippendorff_alpha([1, 1, 0, 0], [0, 0, 1, 1]) == 1
    assert krippendorff_alpha(["x", "x"], [0, 0]) == 1
    random = np.random.default_rng(0)
    assert krippendorff_alpha(random.integers(0, 3, 6000), np.repeat(np.arange(2000), 3)) == pytest.approx(0, abs=0.03)
    with pytest.raises(StudyError, match="two raters"):
        krippendorff_alpha([1, 2], [0, 1])


def test_d_prime_of_known_shares():
    assert forced_choice_d_prime(50, 100) == pytest.approx(0)
    assert forced_choice_d_prime(7602, 10_000) == pytest.approx(
        1, abs=0.01
    )  # normal distribution function of 1/sqrt(2)
    assert np.isfinite(forced_choice_d_prime(10, 10))
    sensitivity, criterion = yes_no_d_prime(8413, 10_000, 5000, 10_000)
    assert sensitivity == pytest.approx(1, abs=0.01)
    assert criterion == pytest.approx(-0.5, abs=0.01)
    with pytest.raises(StudyError, match="5 of 4"):
        forced_choice_d_prime(5, 4)


def test_the_sign_test_is_exact():
    assert sign_test(0, 5) == pytest.approx(2 / 32)
    assert sign_test(5, 10) == 1
    assert sign_test(0, 0) == 1


def test_holm_of_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_is_between_each_and_bonferroni(p_values):
    adjusted = holm(p_values)
    for p, after in zip(p_values, adjusted, strict=True):
        assert p <= after <= min(1, p * len(p_values)) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert all(np.diff(np.array(adjusted)[order]) >= 0)


def opinions(random, erratic=0):
    """Return scores, stimuli and raters of 24 raters over 60 images of three methods; the last raters guess."""
    quality = np.repeat([1.5, 3.0, 4.5], 20)
    bias = random.normal(0, 0.3, 24)
    scores = np.clip(np.rint(quality + bias[:, None] + random.normal(0, 0.5, (24, 60))), 1, 5)
    if erratic:
        scores[-erratic:] = random.integers(1, 6, (erratic, 60))
    return scores.ravel(), np.tile(np.arange(60), 24), np.repeat([f"r{n:02d}" for n in range(24)], 60)


def test_screening_rejects_those_who_guess_and_nobody_else():
    random = np.random.default_rng(3)
    assert screened(*opinions(random)) == []
    assert screened(*opinions(random, erratic=2)) == ["r22", "r23"]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_normalised_scores_have_the_mean_and_spread_of_all(seed):
    scores, _, raters = opinions(np.random.default_rng(seed))
    result = normalised(scores, raters)
    assert result.mean() == pytest.approx(scores.mean())
    assert result.std() == pytest.approx(scores.std())
    means = [result[raters == rater].mean() for rater in np.unique(raters)]
    assert np.ptp(means) < 1e-9


def test_mean_opinion_scores_and_a_method_without_votes():
    scores, stimuli, raters = opinions(np.random.default_rng(0))
    methods = np.array(["bicubic", "srgan", "real"])[stimuli // 20]
    found = mean_opinion_scores(scores, methods, raters, ("bicubic", "srgan", "real"))
    assert found["bicubic"].high < found["srgan"].low < found["srgan"].high < found["real"].low
    with pytest.raises(StudyError, match="finite"):
        mean_opinion_scores(np.array([np.nan]), np.array(["a"]), np.array(["r"]), ("a",))


@pytest.mark.parametrize(
    ("rate", "independent", "clustered"), [(0.55, 783, 2309), (0.6, 194, 572), (0.65, 85, 251), (0.7, 47, 138)]
)
def test_votes_for_a_power_of_80_percent(rate, independent, clustered):
    assert votes_needed(rate) == independent
    assert votes_needed(rate, votes_each=40, icc=0.05) == clustered
    assert power(Budget(independent, 1), rate) == pytest.approx(0.8, abs=0.01)


def test_intervals_of_a_budget():
    assert half_width(Budget(250, 1)) == pytest.approx(0.062, abs=5e-4)
    assert half_width(Budget(25, 40, 0.05)) == pytest.approx(0.053, abs=5e-4)
    with pytest.raises(ConfigError, match="at least 2"):
        Budget(1, 40)
    with pytest.raises(ConfigError, match="icc"):
        Budget(10, 40, 1.5)
    with pytest.raises(ConfigError, match="cannot be told"):
        votes_needed(0.5)


def test_stated_power_is_that_of_simulated_studies():
    random, budget = np.random.default_rng(0), Budget(50, 20, 0.05)
    rejected = 0
    for _ in range(400):
        votes, _ = votes_of(random, budget.raters, budget.votes_each, 0.56, budget.icc)
        rejected += abs(votes.mean() - 0.5) > 1.96 * 0.5 / np.sqrt(budget.effective_votes)
    assert rejected / 400 == pytest.approx(power(budget, 0.56), abs=0.05)


@pytest.mark.parametrize(("checks", "allowed"), [(1, 1), (4, 1), (6, 1), (9, 1), (10, 2), (20, 4)])
def test_one_slip_in_attention_checks_is_allowed(checks, allowed):
    assert Exclusion().failures_allowed(checks) == allowed
    assert Exclusion(min_attention=0).failures_allowed(checks) == checks
    assert Exclusion(min_attention=1).failures_allowed(checks) == 1


@pytest.mark.parametrize("methods", [2, 4])
def test_attention_checks_catch_random_clickers_and_keep_honest_participants(methods):
    able = [name for name in PRESETS if name != "hype-time"]  # a staircase has no attention checks
    designs = [design_of(name) for name in able] + [design_of(name, attention_checks=6) for name in able]
    ruled = [design for design in designs if design.attention_checks and design.exclude.min_attention]
    assert len(ruled) >= len(able)
    for design in ruled:
        caught, lost = attention_power(design, methods)
        assert caught >= 0.85, design.preset
        assert lost <= 0.02, design.preset
    few = design_of("pix2pix-2017", attention_checks=4)
    assert attention_power(few, 2) == pytest.approx((11 / 16, 1 - 0.985**4 - 4 * 0.985**3 * 0.015))
