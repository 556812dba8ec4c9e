"""thin-structures: what is bright and thin in the truth (vessels, fibres, cracks), found or missed.

Dice at half brightness and the area under the ROC curve over all pixels, beside L1, PSNR and SSIM. Accuracy says little
where one pixel in ten is true.
"""

from collections.abc import Iterator

from diptych.evaluate import measures
from diptych.evaluate.samples import Samples
from diptych.evaluate.scores import Score
from diptych.evaluate.tools import Tools
from diptych.protocols import Protocol, each_route


def scores(samples: Samples, tools: Tools) -> Iterator[Score]:
    yield from measures.as_thin_structures(samples, tools)
    yield from measures.to_truth(samples, tools)


PROTOCOL = Protocol("thin-structures", 1, __doc__, scores, each_route)
