"""Intervals of what raters answered, by resampling raters.

Answers of one rater are alike, so an interval that takes them as independent is too narrow: with 25 raters of 40 trials
each and a rate that differs between raters with a standard deviation of .12, it covers the truth in 67 % of studies
instead of 95 %. Raters are independent, so whole raters are sampled with replacement.

With few raters a percentile interval is too narrow as well. Its quantiles are moved outward as the quantiles of
Student's t are from those of the normal distribution (the expanded percentile interval of Hesterberg, 2015).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from diptych.errors import StudyError

DRAWS = 1000
BATCH = 100  # draws that are computed at once
MIN_RATERS = 2  # for an interval; a study of one rater says nothing of others

Statistic = Callable[[np.ndarray], np.ndarray | float]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval over raters, `low` to `high`; `draws` are the values of resampled raters."""

    value: float
    low: float
    high: float
    votes: int
    raters: int
    draws: tuple[float, ...] = field(default=(), repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}], {self.votes} votes of {self.raters} raters"


def estimates(raters: np.ndarray, statistic: Statistic, draws: int = DRAWS, batched: bool = False) -> list[Estimate]:
    """Return the values of `statistic` with their intervals over raters.

    raters: rater of each vote (N,), of any type. statistic: function of the weight of each vote (N,), that is how often
    its rater was sampled, to one value or several (K,); NaN where it is undefined, as for a method without votes.
    batched: `statistic` takes (B, N) and returns (B, K). Resampling depends on the number of raters only. StudyError
    for fewer than MIN_RATERS raters.
    """
    names, index = np.unique(np.asarray(raters), return_inverse=True)
    if len(names) < MIN_RATERS:
        raise StudyError(f"{len(names)} raters are too few for an interval; at least {MIN_RATERS} are needed")
    each = statistic if batched else _one_by_one(statistic)
    values = np.asarray(each(np.ones((1, len(index)))))[0]
    random = np.random.RandomState(len(names))
    weights = random.multinomial(len(names), np.full(len(names), 1 / len(names)), draws)
    parts = [each(part[:, index].astype(float)) for part in np.array_split(weights, -(-draws // BATCH))]
    resampled = np.concatenate([np.asarray(part) for part in parts])
    tail = expanded_tail(len(names))
    low, high = np.nanquantile(resampled, (tail, 1 - tail), axis=0)
    return [
        Estimate(float(value), float(below), float(above), len(index), len(names), tuple(map(float, draws_of)))
        for value, below, above, draws_of in zip(values, low, high, resampled.T, strict=True)
    ]


def _one_by_one(statistic: Statistic) -> Statistic:
    def several(weights: np.ndarray) -> np.ndarray:
        return np.stack([np.atleast_1d(np.asarray(statistic(row), float)) for row in weights])

    return several


def expanded_tail(raters: int) -> float:
    """Return the probability below a 95 % interval's lower end: 0.025 for many raters, less for few."""
    from scipy import stats

    quantile = stats.t.ppf(0.025, raters - 1) * np.sqrt(raters / (raters - 1))
    return float(stats.norm.cdf(quantile))


def weighted_mean(values: np.ndarray) -> Statistic:
    """Return the statistic that is the mean of `values` (N,)."""
    values = np.asarray(values, float)

    def mean(weights: np.ndarray) -> float:
        total = weights.sum()
        return float(weights @ values / total) if total else float("nan")

    return mean


def widened_draws(estimate: Estimate) -> np.ndarray:
    """Return the draws (DRAWS,), with distances from the value widened so that their plain quantiles are the interval.

    With few raters the interval is wider than that of the plain quantiles (`expanded_tail`).
    """
    from scipy import stats

    factor = stats.norm.ppf(expanded_tail(estimate.raters)) / stats.norm.ppf(0.025)
    return estimate.value + (np.array(estimate.draws) - estimate.value) * factor
