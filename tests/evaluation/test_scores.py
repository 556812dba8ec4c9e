"""`metrics.intervals`: do 95 % intervals hold what they should, and do pairs make differences sharper?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from diptych.errors import EvaluationError
from diptych.evaluation.metrics import intervals
from diptych.evaluation.metrics.intervals import difference, score_of_set, score_per_image

SOME = settings(deadline=None, max_examples=30)
KINDS = ["bootstrap", "jackknife"]


def score(by, rows, statistic=np.mean):
    """The statistic of `rows`, either way."""
    if by == "bootstrap":
        return score_per_image("l1", rows, statistic)
    return score_of_set("kid", lambda kept: float(statistic(rows[kept])), len(rows))


@pytest.fixture
def fewer(monkeypatch):
    """Enough draws to judge coverage by."""
    monkeypatch.setattr(intervals, "DRAWS", 300)


@pytest.mark.parametrize("by", KINDS)
@pytest.mark.parametrize(("statistic", "truth"), [(np.mean, 3), (np.std, 2)])
def test_the_interval_covers_the_truth_in_about_95_of_100(by, statistic, truth, fewer):
    random = np.random.RandomState(0)
    found = [score(by, random.randn(60) * 2 + 3, statistic) for _ in range(200)]
    assert 0.9 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.99


@pytest.mark.parametrize("count", [4, 6, 9, 20, 40, 90])
def test_the_jackknife_covers_the_mean_of_few_images_too(count):
    random = np.random.RandomState(0)
    found = [score("jackknife", random.randn(count)) for _ in range(600)]
    assert 0.925 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.975


@pytest.mark.parametrize("by", KINDS)
def test_the_difference_of_equals_stands_in_about_5_of_100(by, fewer):
    random = np.random.RandomState(0)
    stands = []
    for _ in range(200):
        images = random.randn(60) * 5
        one, other = (score(by, images + random.randn(60)) for _ in range(2))
        stands.append(difference(one, other).significant)
    assert 0.03 <= np.mean(stands) <= 0.1


@pytest.mark.parametrize("by", KINDS)
def test_pairs_are_sharper_than_two_sets(by):
    """One image harder than the other, for both: apart the scores overlap, together they tell a small change."""
    random = np.random.RandomState(0)
    images = random.randn(100) * 5
    one, other = (score(by, images + shift + random.randn(100) / 10) for shift in (0.1, 0))
    found = difference(one, other)
    assert one.low < other.high
    assert found.significant
    assert found.value == pytest.approx(one.value - other.value)
    apart = np.hypot(one.high - one.low, other.high - other.low)
    assert found.high - found.low < apart / 10
    back = difference(other, one)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))


@SOME
@given(st.integers(4, 50), st.sampled_from(KINDS))
def test_the_same_images_give_the_same_draws(count, by):
    rows = np.random.RandomState(count).rand(count)
    one, other = score(by, rows), score(by, rows.copy())
    assert one == other
    assert one.by == by
    assert one.count == count
    assert one.low <= one.value <= one.high
    same = difference(one, other)
    assert (same.value, same.low, same.high, same.significant) == (0, 0, 0, False)


def test_draws_depend_on_nothing_but_the_count():
    np.random.seed(1)
    first = intervals.resampled(30)
    np.random.seed(2)
    np.testing.assert_array_equal(first, intervals.resampled(30))
    assert first.shape == (intervals.DRAWS, 30)
    assert set(np.unique(first)) == set(range(30))


@SOME
@given(st.integers(0, 1000), st.integers(4, 70), st.floats(-9, 9), st.floats(0.1, 9), st.sampled_from(KINDS))
def test_intervals_shift_and_scale_with_the_values(seed, count, shift, scale, by):
    rows = np.random.RandomState(seed).rand(count)
    one, other = score(by, rows), score(by, rows * scale + shift)
    for name in ("value", "low", "high"):
        assert vars(other)[name] == pytest.approx(vars(one)[name] * scale + shift, abs=1e-9)


@pytest.mark.parametrize("count", [40, 60, 100])
def test_the_jackknife_of_a_mean_is_the_t_interval_of_its_groups(count):
    rows = np.random.RandomState(0).rand(count)
    groups = [rows[np.arange(count) % 20 == group].mean() for group in range(20)]
    low, high = stats.t.interval(0.95, 19, np.mean(groups), stats.sem(groups))
    found = score("jackknife", rows)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)
    assert len(found.draws) == 20


def test_the_table_of_student_is_that_of_scipy():
    np.testing.assert_allclose(intervals.STUDENT_95, stats.t.ppf(0.975, range(1, intervals.GROUPS)), rtol=1e-6)


def test_the_bootstrap_of_a_mean_has_the_spread_of_its_standard_error():
    rows = np.random.RandomState(0).rand(100)
    found = score_per_image("l1", rows, chance=0.5, ceiling=0.1)
    assert found.value == rows.mean()
    assert np.std(found.draws) == pytest.approx(rows.std() / 10, rel=0.08)
    assert (found.low, found.high) == pytest.approx(stats.norm.interval(0.95, rows.mean(), rows.std() / 10), rel=0.02)
    assert found.each == tuple(rows)
    assert (found.chance, found.ceiling, found.better, found.by) == (0.5, 0.1, "lower", "bootstrap")


def test_every_image_is_left_out_once():
    seen = []
    score_of_set("kid", lambda kept: seen.append(kept) or 0.0, 47)
    assert seen.pop().all()
    np.testing.assert_array_equal(np.sum(~np.array(seen), 0), np.ones(47))
    assert set(np.sum(~np.array(seen), 1)) == {2, 3}


def test_rows_of_any_shape_and_a_statistic_of_their_sum():
    tables = np.random.RandomState(0).randint(0, 9, (25, 3, 3))
    found = score_per_image("pixel-accuracy", tables, lambda rows: float(np.trace(rows.sum(0)) / rows.sum()))
    assert found.low < found.value < found.high
    assert found.each == score_per_image("dice", tables[:, 0, 0], np.median).each == ()


def test_draws_of_which_the_statistic_has_no_value_are_left_out():
    """Of two runs on the same images they are the same ones, so their difference stays one of pairs."""

    def of_ones(rows):
        if not rows[:, 0].any():
            raise EvaluationError("no ones")
        return float(rows[rows[:, 0] == 1, 1].mean())

    kinds = np.arange(12) < 2
    one, other = (score_per_image("dice", np.stack([kinds, np.arange(12.0) + shift], 1), of_ones) for shift in (1, 0))
    assert len(one.draws) == sum((chosen < 2).any() for chosen in intervals.resampled(12)) < intervals.DRAWS
    found = difference(one, other)
    assert (found.low, found.value, found.high) == (1, 1, 1)
    with pytest.raises(EvaluationError, match="no ones"):
        score_per_image("dice", np.zeros((4, 2)), of_ones)


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(EvaluationError, match="l1: there are no images"):
        score_per_image("l1", np.zeros(0))
    with pytest.raises(EvaluationError, match="value of image 2 is not a finite number"):
        score_per_image("l1", np.array([[0, 1], [2, 3], [4, np.inf]]))
    with pytest.raises(EvaluationError, match="3 images are too few"):
        score_of_set("kid", np.mean, 3)


def test_scores_that_are_no_pair_are_refused():
    one = score_per_image("l1", np.arange(9.0))
    for other in (
        score_per_image("lpips", np.arange(9.0)),
        score_per_image("l1", np.arange(8.0)),
        score_of_set("kid", np.mean, 9),
    ):
        with pytest.raises(EvaluationError, match=f"l1 of 9 images and {other.name} of {other.count} images cannot"):
            difference(one, other)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_images_tell_no_difference(count):
    """One image drawn again and again is always the same: it would be sure of anything."""
    one, other = (score_per_image("l1", np.arange(count) + shift) for shift in (0.0, 1.0))
    with pytest.raises(EvaluationError, match=f"l1: {count} images are too few"):
        difference(one, other)
