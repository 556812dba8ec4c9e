"""unpaired-default: translations compared with held-out real images of the target domain, as sets.

FID, KID, precision and recall; colour histograms. With a classifier of domains the share assigned to the target domain;
with one of attributes the share with the target domain's attribute, and the share of other attributes that are
unchanged.
"""

from diptych.evaluation.metrics.on_controls import classified_as_target_domain
from diptych.evaluation.metrics.on_samples import colour_scores, distribution_scores, if_evaluator
from diptych.evaluation.metrics.table import COLOURS, TO_REALS
from diptych.evaluation.protocols import Protocol, route_jobs

PROTOCOL = Protocol(
    "unpaired-default",
    1,
    __doc__,
    route_jobs,
    {
        if_evaluator(classified_as_target_domain): ("taken-for-target", "others-kept", "l1-to-source"),
        colour_scores: COLOURS,
        distribution_scores: TO_REALS,
    },
    monitors=("taken-for-target", "kid"),
)
