"""thin-structures: segmentation of bright, thin structures such as vessels, fibres and cracks.

Dice at half brightness and the area under the ROC curve over all pixels, and L1, PSNR and SSIM. Pixel accuracy is not
reported, as few pixels are true.
"""

from diptych.evaluation.metrics.on_label_maps import vessel_scores
from diptych.evaluation.metrics.on_samples import paired_scores
from diptych.evaluation.metrics.table import TO_TARGET
from diptych.evaluation.protocols import Protocol, route_jobs

PROTOCOL = Protocol(
    "thin-structures",
    1,
    __doc__,
    route_jobs,
    {
        vessel_scores: ("dice", "roc-area"),
        paired_scores: TO_TARGET,
    },
)
