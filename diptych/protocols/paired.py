"""paired-default: translations held against their truths one by one, and against real pictures as sets.

L1 (range -1 to 1), PSNR, SSIM, MS-SSIM from 176 pixels on, LPIPS; histograms of colour; FID, KID, precision and recall.
"""

from collections.abc import Iterator

from diptych.evaluate import measures
from diptych.evaluate.samples import Samples
from diptych.evaluate.scores import Score
from diptych.evaluate.tools import Tools
from diptych.protocols import Protocol, each_route


def scores(samples: Samples, tools: Tools) -> Iterator[Score]:
    yield from measures.to_truth(samples, tools)
    yield from measures.colours(samples, tools)
    yield from measures.to_reals(samples, tools)


PROTOCOL = Protocol("paired-default", 1, __doc__, scores, each_route)
