"""told-apart: real pictures that a judge of classes never saw, and whether it names the class of each.

Accuracy, and the mean of it by class, beside what naming the most frequent class would give. `diptych judge train`
leaves it: the ceiling of what the judge can say of translations. A row of the samples names its class as `label`.
"""

from collections.abc import Iterator

from diptych.evaluate import measures
from diptych.evaluate.samples import Samples
from diptych.evaluate.scores import Score
from diptych.evaluate.tools import Tools
from diptych.protocols import Protocol, each_route


def scores(samples: Samples, tools: Tools) -> Iterator[Score]:
    yield from measures.told_apart(samples, tools)


PROTOCOL = Protocol("told-apart", 1, __doc__, scores, each_route, needs_judge=True)
