"""srgan-y: PSNR and SSIM on the luma with the border left out, as super-resolution papers do (Ledig et al. 2017).

Whole pictures, but for what is left by the scale; Y of BT.601 in 16 to 235; the border is as many pixels as the scale,
unless told otherwise. Chance is what bicubic enlargement gets.
"""

from diptych.evaluation.metrics.on_samples import paired_scores_on_y
from diptych.evaluation.protocols import Protocol, each_route

PROTOCOL = Protocol(
    "srgan-y",
    2,
    __doc__,
    each_route,
    {
        paired_scores_on_y: ("psnr-y", "ssim-y"),
    },
    whole=True,
)
