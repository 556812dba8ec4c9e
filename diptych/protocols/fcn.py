"""pix2pix-fcn: what a segmenter of real photographs sees in photographs made from label maps (Isola et al. 2017, 3.4).

Per-pixel accuracy, per-class accuracy and mean class IoU of the judge's answer against the label maps they were made
from, with the ceiling that real photographs reach. The paper's judge is an FCN-8s for Cityscapes at 2048x1024; here it
is the one given, at the size of the pictures, so these numbers are not the paper's; their order can be compared.
Beside it L1 to the real photograph, and FID, KID, precision and recall.
"""

from collections.abc import Iterator

from diptych.evaluate import measures
from diptych.evaluate.samples import Samples
from diptych.evaluate.scores import Score
from diptych.evaluate.tools import Tools
from diptych.protocols import Protocol, each_route


def scores(samples: Samples, tools: Tools) -> Iterator[Score]:
    yield from measures.seen_by_judge(samples, tools)
    yield from measures.to_truth(samples, tools)
    yield from measures.colours(samples, tools)
    yield from measures.to_reals(samples, tools)


PROTOCOL = Protocol("pix2pix-fcn", 1, __doc__, scores, each_route, needs_judge=True)
