"""How well raters tell generated images from real ones: rate fooled, sensitivity d', exact tests."""

from collections.abc import Sequence

import numpy as np

from diptych.errors import StudyError


def forced_choice_d_prime(correct: int, trials: int) -> float:
    """Return d' of a choice between a real and a generated image: sqrt(2) times the normal quantile of the share.

    0 is chance. Half an answer is added to both counts, so that it stays finite. StudyError for invalid counts.
    """
    _check_count(correct, trials)
    return float(np.sqrt(2) * _normal_quantile((correct + 0.5) / (trials + 1)))


def yes_no_d_prime(hits: int, fakes: int, false_alarms: int, reals: int) -> tuple[float, float]:
    """Return d' and the criterion c of answers to single images: `hits` of `fakes` and `false_alarms` of `reals` called
    fake.

    c > 0 is a tendency to call images real. Half an answer is added to all counts (log-linear correction, Hautus 1995).
    """
    _check_count(hits, fakes)
    _check_count(false_alarms, reals)
    hit, alarm = (_normal_quantile((count + 0.5) / (of + 1)) for count, of in ((hits, fakes), (false_alarms, reals)))
    return hit - alarm, -(hit + alarm) / 2


def sign_test(successes: int, trials: int) -> float:
    """Return the two-sided p value of the exact sign test against a rate of one half.

    It takes answers as independent: use it on one answer per rater, such as whether most of the rater's answers are
    correct.
    """
    from scipy import stats

    _check_count(successes, trials)
    return float(stats.binomtest(successes, trials).pvalue) if trials else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values adjusted for their number by the method of Holm (1979)."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted


def _check_count(count: int, of: int) -> None:
    if not 0 <= count <= of:
        raise StudyError(f"{count} of {of} answers: expected a count between 0 and the number of answers")


def _normal_quantile(share: float) -> float:
    from scipy import stats

    return float(stats.norm.ppf(share))
