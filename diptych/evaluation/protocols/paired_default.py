"""paired-default: translations compared with their ground truth, and with real images as sets.

L1 (range -1 to 1), PSNR, SSIM, MS-SSIM (at least 176 pixels), LPIPS; colour histograms; FID, KID, precision and recall.
"""

from diptych.evaluation.metrics.on_samples import colour_scores, distribution_scores, paired_scores
from diptych.evaluation.metrics.table import COLOURS, TO_REALS, TO_TARGET
from diptych.evaluation.protocols import Protocol, route_jobs

PROTOCOL = Protocol(
    "paired-default",
    1,
    __doc__,
    route_jobs,
    {
        paired_scores: TO_TARGET,
        colour_scores: COLOURS,
        distribution_scores: TO_REALS,
    },
)
