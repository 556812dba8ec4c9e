"""thin-structures: what is bright and thin in the truth (vessels, fibres, cracks), found or missed.

Dice at half brightness and the area under the ROC curve over all pixels, beside L1, PSNR and SSIM. Accuracy says little
where one pixel in ten is true.
"""

from diptych.evaluation.metrics.on_label_maps import as_thin_structures
from diptych.evaluation.metrics.on_samples import paired_scores
from diptych.evaluation.metrics.table import TO_TARGET
from diptych.evaluation.protocols import Protocol, each_route

PROTOCOL = Protocol(
    "thin-structures",
    1,
    __doc__,
    each_route,
    {
        as_thin_structures: ("dice", "roc-area"),
        paired_scores: TO_TARGET,
    },
)
