"""Whether metrics order the methods of a study as its participants do: Kendall's tau, with an exact test."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diptych.evaluation.compare.read import Entry, score_names
from diptych.evaluation.compare.study_votes import is_vote
from diptych.evaluation.metrics.table import metric_of

MIN_METHODS = 3  # two methods are in the same order or not: no correlation
MAX_EXACT = 7  # methods whose orders are all counted; of more, SHUFFLES random ones
SHUFFLES = 10_000


@dataclass(frozen=True)
class Correlation:
    """Kendall's tau-b of the votes and a metric over methods: 1 if the better value is always the higher vote.

    low, high: 95 % interval over participants, for these methods. p: share of all orders of the methods with a tau at
    least as far from 0. smallest_p: the p of complete agreement.
    """

    votes: str
    metric: str
    tau: float
    low: float
    high: float
    p: float
    smallest_p: float
    methods: int

    @property
    def is_exact(self) -> bool:
        """Whether all orders were counted."""
        return self.methods <= MAX_EXACT


def correlations(entries: Sequence[Entry]) -> list[Correlation]:
    """Return the correlations of the votes and the metrics of runs that have both.

    A metric that fewer than MIN_METHODS runs have, or that is the same for all of them, is left out.
    """
    names = score_names(entries)
    found = (
        _correlation(entries, vote, metric)
        for vote in names
        if is_vote(vote)
        for metric in names
        if not is_vote(metric)
    )
    return [each for each in found if each is not None]


def _correlation(entries: Sequence[Entry], vote: str, metric: str) -> Correlation | None:
    pairs = [(entry.score(vote), entry.score(metric)) for entry in entries]
    both = [(votes, scores) for votes, scores in pairs if votes and scores]
    if len(both) < MIN_METHODS:
        return None
    votes = np.array([score.value for score, _ in both])
    goodness = np.array([-metric_of(metric).error(score.value) for _, score in both])
    tau = kendall_tau(votes[None], goodness)[0]
    if math.isnan(tau):
        return None
    draws = kendall_tau(np.array([score.draws for score, _ in both]).T, goodness)
    low, high = np.nanquantile(draws, (0.025, 0.975))
    p, smallest = permutation_p(votes, goodness), permutation_p(np.arange(len(votes)), np.arange(len(votes)))
    return Correlation(vote, metric, float(tau), float(low), float(high), p, smallest, len(both))


def kendall_tau(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return tau-b (N,) of each row of `rows` (N, K) and `values` (K,); NaN if all values of either are equal."""
    signs, other = _pair_signs(rows), _pair_signs(values[None])
    scale = np.sqrt((signs**2).sum(1) * (other**2).sum(1))
    return np.divide((signs * other).sum(1), scale, out=np.full(len(rows), np.nan), where=scale > 0)


def permutation_p(one: np.ndarray, other: np.ndarray) -> float:
    """Return the two-sided p value of Kendall's tau of two samples (K,): exact for up to MAX_EXACT values."""
    if len(one) <= MAX_EXACT:
        orders = np.array(list(itertools.permutations(range(len(one)))))
    else:
        random = np.random.RandomState(len(one))
        shuffled = [random.permutation(len(one)) for _ in range(SHUFFLES - 1)]
        orders = np.array([np.arange(len(one)), *shuffled])  # the observed order is one of those that were possible
    taus = np.abs(kendall_tau(np.asarray(one)[orders], np.asarray(other)))
    observed = abs(kendall_tau(np.asarray(one)[None], np.asarray(other))[0])
    return float(np.mean(taus >= observed - 1e-9))


def _pair_signs(rows: np.ndarray) -> np.ndarray:
    """Return the sign of the difference of each pair of columns (N, K (K - 1) / 2)."""
    first, second = np.triu_indices(rows.shape[1], 1)
    return np.sign(rows[:, first] - rows[:, second])
