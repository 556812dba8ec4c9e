"""colorization: colours of grey photographs.

Intersection of the histograms of L, a and b (Isola et al. 2017, Figure 7); chroma and share of grey pixels beside those
of real photographs; PSNR, LPIPS and the other metrics of pairs; FID, KID, precision and recall. For the papers' study
of people see the preset colorization-2016 of `diptych study new`.
"""

from diptych.evaluation.metrics.on_photographs import chroma_scores
from diptych.evaluation.metrics.on_samples import colour_scores, distribution_scores, paired_scores
from diptych.evaluation.metrics.table import CHROMA, COLOURS, TO_REALS, TO_TARGET
from diptych.evaluation.protocols import Protocol, route_jobs

PROTOCOL = Protocol(
    "colorization",
    1,
    __doc__,
    route_jobs,
    {
        colour_scores: COLOURS,
        chroma_scores: CHROMA,
        paired_scores: TO_TARGET,
        distribution_scores: TO_REALS,
    },
)
