"""Mean opinion scores: normalisation per rater, and the screening of raters of ITU-R BT.500."""

from dataclasses import replace

import numpy as np

from diptych.errors import StudyError
from diptych.studies.rater_bootstrap import Estimate, estimates

NORMAL_KURTOSIS = (2.0, 4.0)  # between these, scores of a stimulus count as normally distributed
MAX_OUTLIER_SHARE = 0.05
MIN_OUTLIER_BIAS = 0.3  # a rater with outliers to one side only is strict or lenient, not erratic


def mean_opinion_scores(
    scores: np.ndarray, methods: np.ndarray, raters: np.ndarray, names: tuple[str, ...]
) -> dict[str, Estimate]:
    """Return the mean score of each method in `names`, with intervals over raters. All arrays are (N,)."""
    scores = np.asarray(scores, float)
    if not np.isfinite(scores).all():
        raise StudyError("opinion scores: not all are finite numbers")
    of_method = [np.asarray(methods) == name for name in names]

    def means(weights: np.ndarray) -> np.ndarray:
        totals = np.array([weights[mask].sum() for mask in of_method])
        sums = np.array([weights[mask] @ scores[mask] for mask in of_method])
        return np.divide(sums, totals, out=np.full(len(names), np.nan), where=totals > 0)

    votes = [int(mask.sum()) for mask in of_method]
    found = [replace(each, votes=count) for each, count in zip(estimates(raters, means), votes, strict=True)]
    return dict(zip(names, found, strict=True))


def normalised(scores: np.ndarray, raters: np.ndarray) -> np.ndarray:
    """Return the scores (N,) with the mean and standard deviation of each rater moved to those of all scores.

    A rater whose scores are all equal gets the mean of all. It takes out that raters use a scale differently.
    """
    scores, raters = np.asarray(scores, float), np.asarray(raters)
    result = np.empty_like(scores)
    for rater in np.unique(raters):
        own = raters == rater
        spread = scores[own].std()
        result[own] = (scores[own] - scores[own].mean()) / (spread or 1)
    return result * scores.std() + scores.mean()


def screened(scores: np.ndarray, stimuli: np.ndarray, raters: np.ndarray) -> list[str]:
    """Return the raters that the screening of ITU-R BT.500 (annex 1, 2.3.1) rejects. All arrays are (N,).

    A score is an outlier if it is 2 standard deviations of its stimulus from the mean (sqrt(20) if the scores are not
    normal by their kurtosis). Rejected are raters with outliers for more than 5 % of stimuli, about as often above as
    below the mean.
    """
    scores, stimuli, raters = np.asarray(scores, float), np.asarray(stimuli), np.asarray(raters)
    above, below = np.zeros(len(scores), bool), np.zeros(len(scores), bool)
    for stimulus in np.unique(stimuli):
        own = stimuli == stimulus
        offsets = scores[own] - scores[own].mean()
        variance = np.mean(offsets**2)
        if not variance or own.sum() < 2:
            continue
        kurtosis = np.mean(offsets**4) / variance**2
        factor = 2 if NORMAL_KURTOSIS[0] <= kurtosis <= NORMAL_KURTOSIS[1] else np.sqrt(20)
        limit = factor * offsets.std(ddof=1)
        above[own], below[own] = offsets >= limit, offsets <= -limit
    return [str(rater) for rater in np.unique(raters) if _is_erratic(above[raters == rater], below[raters == rater])]


def _is_erratic(above: np.ndarray, below: np.ndarray) -> bool:
    over, under = int(above.sum()), int(below.sum())
    outliers = over + under
    return outliers > MAX_OUTLIER_SHARE * len(above) and abs(over - under) < MIN_OUTLIER_BIAS * outliers
