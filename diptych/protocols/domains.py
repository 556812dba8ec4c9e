"""domains: translations between many domains, or with attributes changed, each way by itself.

L1 and what else `paired-default` measures where the truth is known; FID and KID by an extractor; with a judge the share
in which it sees what was asked for, beside its own ceiling.
"""

from collections.abc import Iterator, Sequence

from diptych.evaluate import measures
from diptych.evaluate.asked import as_asked
from diptych.evaluate.samples import Samples
from diptych.evaluate.scores import Score, averaged
from diptych.evaluate.tools import Tools
from diptych.protocols import Protocol, each_route


def scores(samples: Samples, tools: Tools) -> Iterator[Score]:
    if samples.paired:
        yield from measures.to_truth(samples, tools)
    if tools.judge is not None:
        yield from as_asked(samples, tools)
    yield from measures.to_reals(samples, tools)


def overall(found: Sequence[Score]) -> Iterator[Score]:
    """The mean of each measure over all ways."""
    for name in dict.fromkeys(score.name.rpartition("/")[2] for score in found):
        yield averaged(f"mean/{name}", [score for score in found if score.name.endswith(f"/{name}")])


PROTOCOL = Protocol("domains", 1, __doc__, scores, each_route, overall=overall)
