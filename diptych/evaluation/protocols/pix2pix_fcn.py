"""pix2pix-fcn: what a segmenter of real photographs sees in photographs made from label maps (Isola et al. 2017, 3.4).

Per-pixel accuracy, per-class accuracy and mean class IoU of the judge's answer against the label maps they were made
from, with the ceiling that real photographs reach. The paper's judge is an FCN-8s for Cityscapes at 2048x1024; here it
is the one given, at the size of the pictures, so these numbers are not the paper's; their order can be compared.
Beside it L1 to the real photograph, and FID, KID, precision and recall.
"""

from diptych.evaluation.metrics.on_label_maps import seen_by_judge
from diptych.evaluation.metrics.on_samples import colours, distribution_scores, paired_scores
from diptych.evaluation.metrics.table import COLOURS, LABEL_MAPS, TO_REALS, TO_TARGET
from diptych.evaluation.protocols import Protocol, each_route

PROTOCOL = Protocol(
    "pix2pix-fcn",
    2,
    __doc__,
    each_route,
    {
        seen_by_judge: LABEL_MAPS,
        paired_scores: TO_TARGET,
        colours: COLOURS,
        distribution_scores: TO_REALS,
    },
    needs_judge=True,
)
