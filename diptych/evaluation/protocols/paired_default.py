"""paired-default: translations held against their truths one by one, and against real pictures as sets.

L1 (range -1 to 1), PSNR, SSIM, MS-SSIM from 176 pixels on, LPIPS; histograms of colour; FID, KID, precision and recall.
"""

from diptych.evaluation.metrics.on_samples import colours, distribution_scores, paired_scores
from diptych.evaluation.metrics.table import COLOURS, TO_REALS, TO_TARGET
from diptych.evaluation.protocols import Protocol, each_route

PROTOCOL = Protocol(
    "paired-default",
    1,
    __doc__,
    each_route,
    {
        paired_scores: TO_TARGET,
        colours: COLOURS,
        distribution_scores: TO_REALS,
    },
)
