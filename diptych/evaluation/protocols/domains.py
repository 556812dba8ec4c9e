"""domains: translations between many domains, or with attributes changed, each pair of domains separately.

The metrics of `paired-default` where the ground truth is known; FID, KID, precision and recall; with a classifier the
share of translations in which it finds the requested domain or attribute, with its accuracy as ceiling.
"""

from collections.abc import Iterator, Sequence

from diptych.evaluation.metrics.intervals import Score, mean_score
from diptych.evaluation.metrics.on_controls import as_requested
from diptych.evaluation.metrics.on_samples import distribution_scores, if_evaluator, if_paired, paired_scores
from diptych.evaluation.metrics.table import TO_REALS, TO_TARGET
from diptych.evaluation.protocols import Protocol, route_jobs


def mean_over_jobs(scores: Sequence[Score]) -> Iterator[Score]:
    """Yield the mean of each metric over all jobs."""
    for name in dict.fromkeys(score.name.rpartition("/")[2] for score in scores):
        yield mean_score(f"mean/{name}", [score for score in scores if score.name.endswith(f"/{name}")])


PROTOCOL = Protocol(
    "domains",
    1,
    __doc__,
    route_jobs,
    {
        if_paired(paired_scores): TO_TARGET,
        if_evaluator(as_requested): ("as-asked", "others-kept"),
        distribution_scores: TO_REALS,
    },
    summarise=mean_over_jobs,
)
