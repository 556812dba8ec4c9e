"""label-maps: label maps predicted from photographs (Isola et al. 2017, Table 6).

A pixel has the class of the nearest colour of the palette: the given one, else that of the segmenter, else one found in
the true maps, which may lack rare classes. The result states the palette. Pixel accuracy, class accuracy and mean IoU,
and L1.
"""

from diptych.evaluation.metrics.on_label_maps import label_map_scores
from diptych.evaluation.metrics.on_samples import paired_scores
from diptych.evaluation.metrics.table import LABEL_MAPS, TO_TARGET
from diptych.evaluation.protocols import Protocol, route_jobs

PROTOCOL = Protocol(
    "label-maps",
    2,
    __doc__,
    route_jobs,
    {
        label_map_scores: LABEL_MAPS,
        paired_scores: TO_TARGET,
    },
)
