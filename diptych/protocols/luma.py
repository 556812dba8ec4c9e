"""srgan-y: PSNR and SSIM on the luma with the border left out, as super-resolution papers do (Ledig et al. 2017).

Whole pictures, but for what is left by the scale; Y of BT.601 in 16 to 235; the border is as many pixels as the scale,
unless told otherwise. Chance is what bicubic enlargement gets.
"""

from collections.abc import Iterator

from diptych.evaluate import measures
from diptych.evaluate.samples import Samples
from diptych.evaluate.scores import Score
from diptych.evaluate.tools import Tools
from diptych.protocols import Protocol, each_route


def scores(samples: Samples, tools: Tools) -> Iterator[Score]:
    yield from measures.to_truth_on_y(samples, tools)


PROTOCOL = Protocol("srgan-y", 2, __doc__, scores, each_route, whole=True)
