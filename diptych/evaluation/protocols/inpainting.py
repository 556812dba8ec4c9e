"""inpainting: photographs whose missing pixels were filled.

L1, PSNR and SSIM of the missing pixels alone; then of whole images, whose known pixels are those of the source; FID,
KID, precision and recall.
"""

from diptych.evaluation.metrics.on_photographs import missing_scores
from diptych.evaluation.metrics.on_samples import distribution_scores, paired_scores
from diptych.evaluation.metrics.table import MISSING, TO_REALS, TO_TARGET
from diptych.evaluation.protocols import Protocol, route_jobs

PROTOCOL = Protocol(
    "inpainting",
    1,
    __doc__,
    route_jobs,
    {
        missing_scores: MISSING,
        paired_scores: TO_TARGET,
        distribution_scores: TO_REALS,
    },
)
