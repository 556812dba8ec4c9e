"""`metrics.segmentation` against scikit-learn, which takes the same numbers from plain lists of pixels."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics

from diptych.errors import EvaluationError
from diptych.evaluation.metrics import intervals, segmentation
from diptych.evaluation.metrics.segmentation import (
    class_accuracy,
    confusion,
    dice,
    majority,
    mean_iou,
    pixel_accuracy,
    roc_area,
)

SOME = settings(deadline=None, max_examples=30)
SEEDS = st.integers(0, 10**6)


def maps(seed, classes, dtype=np.int64):
    """A few maps of some of the classes, and predictions that are right here and there."""
    random = np.random.RandomState(seed)
    truth = random.choice(random.permutation(classes)[: random.randint(1, classes + 1)], (3, 5, 4))
    predicted = np.where(random.rand(3, 5, 4) < 0.5, truth, random.randint(0, classes, truth.shape))
    return predicted.astype(dtype), truth.astype(dtype)


@SOME
@given(SEEDS, st.integers(2, 9), st.sampled_from([np.int64, np.uint8, np.uint64, np.int32]))
def test_confusions_and_their_scores_are_those_of_scikit_learn(seed, classes, dtype):
    predicted, truth = maps(seed, classes, dtype)
    found = confusion(predicted, truth, classes)
    assert found.dtype == np.int64
    for one, t, p in zip(found, truth, predicted, strict=True):
        np.testing.assert_array_equal(one, metrics.confusion_matrix(t.ravel(), p.ravel(), labels=range(classes)))
    pixels = truth.ravel(), predicted.ravel()
    assert pixel_accuracy(found) == pytest.approx(metrics.accuracy_score(*pixels))
    expected = metrics.recall_score(*pixels, average="macro", labels=np.unique(truth))
    assert class_accuracy(found) == pytest.approx(expected)
    assert mean_iou(found) == pytest.approx(metrics.jaccard_score(*pixels, average="macro"))


@SOME
@given(SEEDS)
def test_one_image_after_the_other_or_their_sum_in_any_order(seed):
    predicted, truth = maps(seed, 5)
    found = confusion(predicted, truth, 5)
    for statistic in (pixel_accuracy, class_accuracy, mean_iou):
        assert statistic(found) == statistic(found[::-1]) == statistic(found.sum(0))
        assert statistic(confusion(truth, truth, 5)) == 1


@SOME
@given(SEEDS)
def test_majority_is_the_answer_without_looking(seed):
    predicted, truth = maps(seed, 5)
    answer = np.full_like(truth, np.bincount(truth.ravel()).argmax())
    np.testing.assert_array_equal(majority(confusion(predicted, truth, 5)), confusion(answer, truth, 5))


def test_which_classes_count():
    """Class 2 is only predicted, class 3 occurs nowhere."""
    found = confusion(np.array([[[0, 0, 1, 2]]]), np.array([[[0, 0, 1, 1]]]), 4)
    assert pixel_accuracy(found) == 0.75
    assert class_accuracy(found) == (1 + 0.5) / 2
    assert mean_iou(found) == (1 + 0.5 + 0) / 3


def test_scores_resample_images():
    predicted, truth = maps(0, 5)
    found = confusion(predicted, truth, 5)
    score = intervals.score_per_image("mean-iou", found, mean_iou, chance=mean_iou(majority(found)))
    assert score.value == mean_iou(found)
    assert score.low < score.value < score.high
    assert score.chance < score.value


@SOME
@given(SEEDS, st.floats(0, 1), st.floats(0, 1))
def test_dice_is_f1_of_each_image(seed, p, q):
    random = np.random.RandomState(seed)
    predicted, truth = random.rand(4, 3, 3) < p, random.rand(4, 3, 3) < q
    expected = [
        metrics.f1_score(t.ravel(), f.ravel(), zero_division=1.0) for t, f in zip(truth, predicted, strict=True)
    ]
    np.testing.assert_allclose(dice(predicted, truth), expected)
    np.testing.assert_allclose(dice(predicted.astype(np.uint8) * 255, truth.astype(np.int64)), expected)


def test_dice_of_empty_maps():
    empty, full = np.zeros((1, 2, 2), bool), np.ones((1, 2, 2), bool)
    assert list(map(dice, (empty, empty, full), (empty, full, full))) == [1, 0, 1]


@SOME
@given(SEEDS, st.integers(1, 256))
def test_the_roc_area_is_that_of_scikit_learn_with_few_levels_and_many(seed, levels):
    random = np.random.RandomState(seed)
    truth = random.rand(3, 6, 5) < 0.3
    assume(truth.any() and not truth.all())
    found = np.minimum(random.randint(0, levels, truth.shape) + truth * (levels // 4), 255).astype(np.uint8)
    histograms = segmentation.score_histograms(found, truth)
    assert histograms.shape == (3, 2, 256)
    expected = metrics.roc_auc_score(truth.ravel(), found.ravel())
    assert roc_area(histograms) == pytest.approx(expected, rel=1e-12)
    assert roc_area(histograms.sum(0)) == roc_area(histograms)
    assert roc_area(segmentation.score_histograms(255 - found, truth)) == pytest.approx(1 - expected, abs=1e-12)
    assert roc_area(segmentation.score_histograms(truth.astype(np.uint8) * 255, truth)) == 1


def test_the_roc_area_does_not_overflow_with_billions_of_pixels():
    histograms = np.zeros((1, 2, 256), np.int64)
    histograms[0, 0, 10] = histograms[0, 1, 20] = 10**12
    assert roc_area(histograms) == 1


def test_what_cannot_be_judged_is_refused():
    good = np.zeros((2, 3, 3), np.int64)
    with pytest.raises(EvaluationError, match=r"two maps .* got \(2, 3, 3\) and \(1, 3, 3\)"):
        confusion(good, good[:1], 2)
    with pytest.raises(EvaluationError, match=r"got \(3, 3\) and"):
        confusion(good[0], good[0], 2)
    with pytest.raises(EvaluationError, match="expected two maps"):
        dice(good[:0], good[:0])
    with pytest.raises(EvaluationError, match="prediction has class 2; with 2 classes they are 0 to 1"):
        confusion(good + 2, good, 2)
    with pytest.raises(EvaluationError, match="truth has class -1"):
        confusion(good, good - 1, 2)
    with pytest.raises(EvaluationError, match="truth holds float64; expected class numbers"):
        confusion(good, good * 1.0, 2)
    with pytest.raises(EvaluationError, match="uint8, got int64"):
        segmentation.score_histograms(good, good)
    with pytest.raises(EvaluationError, match="ROC"):
        roc_area(segmentation.score_histograms(good.astype(np.uint8), good))
    with pytest.raises(EvaluationError, match="no pixels"):
        mean_iou(np.zeros((2, 3, 3), np.int64))
