"""unpaired-default: translations held against held-out real pictures of the other domain, as sets.

FID, KID, precision and recall; histograms of colour; with a judge of domains the share that it takes for the target,
with one of attributes the share that has the one that was to change, and what else of its answers stayed.
"""

from diptych.evaluation.metrics.on_controls import taken_for_target
from diptych.evaluation.metrics.on_samples import colours, distribution_scores, where_judged
from diptych.evaluation.metrics.table import COLOURS, TO_REALS
from diptych.evaluation.protocols import Protocol, each_route

PROTOCOL = Protocol(
    "unpaired-default",
    1,
    __doc__,
    each_route,
    {
        where_judged(taken_for_target): ("taken-for-target", "others-kept", "l1-to-source"),
        colours: COLOURS,
        distribution_scores: TO_REALS,
    },
    chooses=("taken-for-target", "kid"),
)
