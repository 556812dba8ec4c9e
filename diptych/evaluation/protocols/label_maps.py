"""label-maps: label maps made from photographs, pixel by pixel (Isola et al. 2017, Table 6).

Each pixel is of the class whose colour is nearest, by the palette that is given, else that of the judge, else one found
in the true maps, which may lack rare classes: the result says which. Per-pixel accuracy, per-class accuracy and mean
class IoU, beside L1.
"""

from diptych.evaluation.metrics.on_label_maps import as_label_maps
from diptych.evaluation.metrics.on_samples import paired_scores
from diptych.evaluation.metrics.table import LABEL_MAPS, TO_TARGET
from diptych.evaluation.protocols import Protocol, each_route

PROTOCOL = Protocol(
    "label-maps",
    2,
    __doc__,
    each_route,
    {
        as_label_maps: LABEL_MAPS,
        paired_scores: TO_TARGET,
    },
)
