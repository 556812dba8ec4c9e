"""attribute-transfer: whether an attribute was changed and the identity was kept (Li et al. 2016).

Each source and its translation are compared by the cosine distance of their embeddings, which are the extractor's
features: give a classifier of persons or faces by --extractor. Also the metrics of `unpaired-default` with a
classifier, and FID, KID, precision and recall.
"""

from diptych.evaluation.metrics.on_controls import classified_as_target_domain, identity_kept
from diptych.evaluation.metrics.on_samples import distribution_scores, if_evaluator
from diptych.evaluation.metrics.table import TO_REALS
from diptych.evaluation.protocols import Protocol, route_jobs

PROTOCOL = Protocol(
    "attribute-transfer",
    1,
    __doc__,
    route_jobs,
    {
        if_evaluator(classified_as_target_domain): ("taken-for-target", "others-kept", "l1-to-source"),
        identity_kept: ("identity-distance",),
        distribution_scores: TO_REALS,
    },
    monitors=("taken-for-target", "kid"),
)
