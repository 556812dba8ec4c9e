"""srgan-y: PSNR and SSIM on the luma without a border, as in papers on super-resolution (Ledig et al. 2017).

Whole images, cropped to a multiple of the upscale factor; Y of BT.601 in 16 to 235. The border has as many pixels as
the upscale factor unless --border is given. Chance is bicubic upsampling.
"""

from diptych.evaluation.metrics.on_samples import paired_scores_on_y
from diptych.evaluation.protocols import Protocol, route_jobs

PROTOCOL = Protocol(
    "srgan-y",
    2,
    __doc__,
    route_jobs,
    {
        paired_scores_on_y: ("psnr-y", "ssim-y"),
    },
    whole_images=True,
)
