"""Scores with 95 % intervals, and the significance of the difference of two scores.

A mean or sum over images is bootstrapped: `DRAWS` times, images are sampled with replacement. A metric of a set, such
as FID, is computed without each of `GROUPS` parts of the set (a grouped jackknife), as repeated images would change its
value. Both depend on the positions of images only. So two runs evaluated on the same images are resampled equally, and
the interval of their difference is one of paired samples.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from diptych.contract.metric import Better
from diptych.errors import EvaluationError, shown
from diptych.evaluation.metrics import feature_statistics
from diptych.evaluation.metrics.table import metric_of

DRAWS = 1000
GROUPS = 20
MIN_IMAGES = feature_statistics.MIN_IMAGES  # for an interval
# half of the 95 % interval of Student's t distribution with 1, 2 .. 19 degrees of freedom
STUDENT_95 = [12.7062, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139]
STUDENT_95 += [2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024]

Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Score:
    """A value with its 95 % interval, `low` to `high`.

    draws: values of the resampled sets; `by` is the resampling method.
    each: the value of each image, if the metric has one.
    chance: the score of a trivial answer. ceiling: the score of real images.
    better: the direction of the metric in the table. EvaluationError for another direction or an unknown name.
    """

    name: str
    value: float
    low: float
    high: float
    better: Better
    count: int  # images
    by: Literal["bootstrap", "jackknife"]
    draws: tuple[float, ...] = field(repr=False)
    each: tuple[float, ...] = field(default=(), repr=False)
    chance: float | None = None
    ceiling: float | None = None

    def __post_init__(self) -> None:
        if self.better != (known := metric_of(self.name).better):
            raise EvaluationError(f"{shown(self.name)}: {self.better} is not better for this metric; {known} is better")

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g} ({self.low:.4g} to {self.high:.4g}, {self.count} images)"


@dataclass(frozen=True)
class Difference:
    """The first of two scores minus the second, with its 95 % interval; it is significant if that excludes 0."""

    value: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        return not self.low <= 0 <= self.high


def mean(rows: np.ndarray) -> float:
    return float(np.mean(rows))


def score_per_image(
    name: str,
    rows: np.ndarray,
    statistic: Statistic = mean,
    chance: float | None = None,
    ceiling: float | None = None,
) -> Score:
    """Return the statistic of `rows` (N, ...), one row per image, with a bootstrap over the images.

    `name` is a metric of the table, which gives the direction. EvaluationError if there are no rows, a value is not
    finite, or the statistic is undefined for all rows together.
    """
    rows = np.asarray(rows)
    if not len(rows):
        raise EvaluationError(f"{name}: there are no images to evaluate")
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows.reshape(len(rows), -1)).all(1))[0])
        raise EvaluationError(f"{name}: the value of image {bad} is not a finite number")
    value = statistic(rows)
    draws = list(_bootstrap(rows, statistic))
    low, high = np.quantile(draws, (0.025, 0.975))
    each = tuple(map(float, rows)) if rows.ndim == 1 and statistic is mean else ()
    better = metric_of(name).better
    return Score(
        name, value, float(low), float(high), better, len(rows), "bootstrap", tuple(draws), each, chance, ceiling
    )


def _bootstrap(rows: np.ndarray, statistic: Statistic) -> Iterator[float]:
    """Yield the statistic of each bootstrap sample; samples for which it is undefined are skipped."""
    for chosen in resampled(len(rows)):
        with suppress(EvaluationError):
            yield statistic(rows[chosen])


def score_of_set(name: str, statistic: Callable[[np.ndarray], float], count: int) -> Score:
    """Return `statistic(mask)` of the images 0 to count - 1, with a jackknife that leaves out one group at a time.

    `mask` is boolean (count,). The interval is clipped to the limits of the metric. EvaluationError for fewer than
    MIN_IMAGES images.
    """
    if count < MIN_IMAGES:
        raise EvaluationError(f"{name}: {count} images are too few for an interval; at least {MIN_IMAGES} are needed")
    groups = min(GROUPS, count // 2)
    draws = np.array([statistic(np.arange(count) % groups != group) for group in range(groups)])
    value = statistic(np.ones(count, bool))
    half, metric = margin(draws), metric_of(name)
    low, high = max(value - half, metric.limits[0]), min(value + half, metric.limits[1])
    return Score(name, value, low, high, metric.better, count, "jackknife", tuple(map(float, draws)))


def margin(draws: np.ndarray) -> float:
    """Return half of the 95 % interval by Efron's jackknife: `draws` are the values without each group.

    Student's t replaces the normal distribution, with which the interval of 4 images would have 71 % coverage.
    """
    error = np.sqrt((len(draws) - 1) * np.mean((draws - draws.mean()) ** 2))
    return float(STUDENT_95[len(draws) - 2] * error)


def mean_score(name: str, scores: Sequence[Score]) -> Score:
    """Return the mean of scores of one metric, with the interval of the mean of their resampled values."""
    first, value = scores[0], float(np.mean([score.value for score in scores]))
    fewest = min(len(score.draws) for score in scores)  # very small sets have fewer groups
    draws = np.mean([score.draws[:fewest] for score in scores], 0)
    if first.by == "jackknife":
        low, high = value - margin(draws), value + margin(draws)
    else:
        low, high = map(float, np.quantile(draws, (0.025, 0.975)))
    ceilings = [score.ceiling for score in scores if score.ceiling is not None]
    return replace(
        first,
        name=name,
        value=value,
        low=low,
        high=high,
        draws=tuple(map(float, draws)),
        each=(),
        ceiling=float(np.mean(ceilings)) if ceilings else None,
    )


def resampled(count: int) -> np.ndarray:
    """Return positions (DRAWS, count) of bootstrap samples; they depend on `count` only."""
    return np.random.RandomState(count).randint(0, count, (DRAWS, count))


def difference(one: Score, other: Score) -> Difference:
    """Return `one - other` of the same metric on the same images.

    EvaluationError if the metrics or numbers of images differ, or there are fewer than MIN_IMAGES images.
    """
    if (one.name, one.count, one.by, len(one.draws)) != (other.name, other.count, other.by, len(other.draws)):
        raise EvaluationError(
            f"{one.name} of {one.count} images and {other.name} of {other.count} images cannot be compared: "
            f"evaluate both on the same images"
        )
    if one.count < MIN_IMAGES:
        raise EvaluationError(
            f"{one.name}: {one.count} images are too few for a difference; at least {MIN_IMAGES} are needed"
        )
    draws = np.subtract(one.draws, other.draws)
    value = one.value - other.value
    if one.by == "jackknife":
        half = margin(draws)
        return Difference(value, value - half, value + half)
    low, high = np.quantile(draws, (0.025, 0.975))
    return Difference(value, float(low), float(high))
