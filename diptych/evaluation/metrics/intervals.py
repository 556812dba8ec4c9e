"""Numbers that know how sure they are, and whether the difference of two of them stands.

What is a mean or a sum over images is resampled: the images are drawn again, with replacement, as often as `DRAWS`.
What is of a whole set, as FID, is computed again without each of `GROUPS` parts of it (a grouped jackknife): to draw
images twice would change what it measures. Both choose by position alone, so two runs judged on the same images are
resampled alike, and the interval of their difference is that of pairs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from diptych.errors import EvaluationError, shown
from diptych.evaluation.metrics import feature_statistics
from diptych.evaluation.metrics.table import metric_of
from diptych.metric import Better

DRAWS = 1000
GROUPS = 20
LEAST = feature_statistics.LEAST  # images to be sure of anything
# standard deviations to either side that hold 95 % of Student's t with 1, 2 .. 19 degrees of freedom
STUDENT_95 = [12.7062, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139]
STUDENT_95 += [2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024]

Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Score:
    """One number with its 95 % interval, `low` to `high`.

    `draws` are the values of the resampled sets, `by` says how those were made; `each` has one value for every image
    where there is such a thing. `chance` is what an answer without looking would score, `ceiling` what real images do.
    `better` is the direction that the metric table gives for the name. EvaluationError for another one, or a name that
    is not in the table.
    """

    name: str
    value: float
    low: float
    high: float
    better: Better
    count: int  # images it rests on
    by: Literal["bootstrap", "jackknife"]
    draws: tuple[float, ...]
    each: tuple[float, ...] = ()
    chance: float | None = None
    ceiling: float | None = None

    def __post_init__(self) -> None:
        if self.better != (known := metric_of(self.name).better):
            raise EvaluationError(f"{shown(self.name)}: {self.better} is not better; of this metric {known} is")


@dataclass(frozen=True)
class Difference:
    """Of two scores, the first minus the second, with its 95 % interval; it stands if that leaves out 0."""

    value: float
    low: float
    high: float

    @property
    def stands(self) -> bool:
        return not self.low <= 0 <= self.high


def mean(rows: np.ndarray) -> float:
    return float(np.mean(rows))


def of_images(
    name: str,
    rows: np.ndarray,
    statistic: Statistic = mean,
    chance: float | None = None,
    ceiling: float | None = None,
) -> Score:
    """The statistic of `rows` (N, ...), one row for each image, with a bootstrap over the images.

    `name` is one of the metric table, which says whether lower or higher is better.

    Raises EvaluationError if there are none, one of them is not finite, or the statistic has no value of all of them.
    """
    rows = np.asarray(rows)
    if not len(rows):
        raise EvaluationError(f"{name}: there are no images to measure")
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows.reshape(len(rows), -1)).all(1))[0])
        raise EvaluationError(f"{name}: the value of image {bad} is not a finite number")
    value = statistic(rows)
    draws = list(_drawn(rows, statistic))
    low, high = np.quantile(draws, (0.025, 0.975))
    each = tuple(map(float, rows)) if rows.ndim == 1 and statistic is mean else ()
    better = metric_of(name).better
    return Score(
        name, value, float(low), float(high), better, len(rows), "bootstrap", tuple(draws), each, chance, ceiling
    )


def _drawn(rows: np.ndarray, statistic: Statistic) -> Iterator[float]:
    """The statistic of each draw that has one: where few images hold what it needs, some draws hold none of them."""
    for chosen in resampled(len(rows)):
        with suppress(EvaluationError):
            yield statistic(rows[chosen])


def of_set(name: str, statistic: Callable[[np.ndarray], float], count: int) -> Score:
    """`statistic(kept)` of the images 0 to count - 1, with a jackknife that leaves out one group after the other.

    `kept` is a boolean mask (count,): a measure of two sets leaves out the same share of both. The interval ends where
    no value can be, at the limits of the metric. EvaluationError if there are too few images for two groups.
    """
    if count < LEAST:
        raise EvaluationError(f"{name}: {count} images are too few to say how sure the number is: at least {LEAST}")
    groups = min(GROUPS, count // 2)
    draws = np.array([statistic(np.arange(count) % groups != group) for group in range(groups)])
    value = statistic(np.ones(count, bool))
    half, metric = margin(draws), metric_of(name)
    low, high = max(value - half, metric.limits[0]), min(value + half, metric.limits[1])
    return Score(name, value, low, high, metric.better, count, "jackknife", tuple(map(float, draws)))


def margin(draws: np.ndarray) -> float:
    """Half of the 95 % interval that the values without each group give: Efron's jackknife, and Student's t of groups.

    With the normal distribution in its place, 4 images would cover the truth in 71 of 100 cases.
    """
    error = np.sqrt((len(draws) - 1) * np.mean((draws - draws.mean()) ** 2))
    return float(STUDENT_95[len(draws) - 2] * error)


def averaged(name: str, found: Sequence[Score]) -> Score:
    """The mean of scores of one kind, resampled as they are. Sets of which each is another are taken as independent."""
    first, value = found[0], float(np.mean([score.value for score in found]))
    fewest = min(len(score.draws) for score in found)  # very small sets have fewer groups
    draws = np.mean([score.draws[:fewest] for score in found], 0)
    if first.by == "jackknife":
        low, high = value - margin(draws), value + margin(draws)
    else:
        low, high = map(float, np.quantile(draws, (0.025, 0.975)))
    ceilings = [score.ceiling for score in found if score.ceiling is not None]
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
    """(DRAWS, count) positions, the same whenever `count` is the same."""
    return np.random.RandomState(count).randint(0, count, (DRAWS, count))


def difference(one: Score, other: Score) -> Difference:
    """`one - other` of the same measure on the same images.

    EvaluationError if they cannot be of the same, or are fewer than 4: draws of one image would be sure of anything.
    """
    if (one.name, one.count, one.by, len(one.draws)) != (other.name, other.count, other.by, len(other.draws)):
        raise EvaluationError(
            f"{one.name} of {one.count} images and {other.name} of {other.count} cannot be compared: judge both alike"
        )
    if one.count < LEAST:
        raise EvaluationError(f"{one.name}: {one.count} images are too few to tell a difference: at least {LEAST}")
    draws = np.subtract(one.draws, other.draws)
    value = one.value - other.value
    if one.by == "jackknife":
        half = margin(draws)
        return Difference(value, value - half, value + half)
    low, high = np.quantile(draws, (0.025, 0.975))
    return Difference(value, float(low), float(high))
