"""pix2pix-fcn: the FCN score of photographs generated from label maps (Isola et al. 2017, section 3.4).

A segmenter trained on real photographs segments the translations: pixel accuracy, class accuracy and mean IoU against
the source label maps, with the scores of real photographs as ceiling. The paper's segmenter is an FCN-8s for Cityscapes
at 2048x1024. Here it is the given evaluator at the size of the images, so values differ from the paper; the ranking of
methods is comparable. Also L1 to the real photograph, colour histograms, FID, KID, precision and recall.
"""

from diptych.evaluation.metrics.on_label_maps import fcn_scores
from diptych.evaluation.metrics.on_samples import colour_scores, distribution_scores, paired_scores
from diptych.evaluation.metrics.table import COLOURS, LABEL_MAPS, TO_REALS, TO_TARGET
from diptych.evaluation.protocols import Protocol, route_jobs

PROTOCOL = Protocol(
    "pix2pix-fcn",
    2,
    __doc__,
    route_jobs,
    {
        fcn_scores: LABEL_MAPS,
        paired_scores: TO_TARGET,
        colour_scores: COLOURS,
        distribution_scores: TO_REALS,
    },
    needs_evaluator=True,
)
