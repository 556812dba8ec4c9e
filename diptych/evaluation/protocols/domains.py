"""domains: translations between many domains, or with attributes changed, each way by itself.

L1 and what else `paired-default` measures where the truth is known; FID and KID by an extractor; with a judge the share
in which it sees what was asked for, beside its own ceiling.
"""

from collections.abc import Iterator, Sequence

from diptych.evaluation.metrics.intervals import Score, averaged
from diptych.evaluation.metrics.on_controls import as_asked
from diptych.evaluation.metrics.on_samples import distribution_scores, paired_scores, where_judged, where_paired
from diptych.evaluation.metrics.table import TO_REALS, TO_TARGET
from diptych.evaluation.protocols import Protocol, each_route


def overall(found: Sequence[Score]) -> Iterator[Score]:
    """The mean of each measure over all ways."""
    for name in dict.fromkeys(score.name.rpartition("/")[2] for score in found):
        yield averaged(f"mean/{name}", [score for score in found if score.name.endswith(f"/{name}")])


PROTOCOL = Protocol(
    "domains",
    1,
    __doc__,
    each_route,
    {
        where_paired(paired_scores): TO_TARGET,
        where_judged(as_asked): ("as-asked", "others-kept"),
        distribution_scores: TO_REALS,
    },
    overall=overall,
)
