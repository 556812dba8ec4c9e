"""unpaired-default: translations held against held-out real pictures of the other domain, as sets.

FID, KID, precision and recall; histograms of colour; with a judge of domains the share that it takes for the target,
with one of attributes the share that has the one that was to change, and what else of its answers stayed.
"""

from collections.abc import Iterator

from diptych.evaluate import measures
from diptych.evaluate.asked import attribute_changed
from diptych.evaluate.samples import Samples
from diptych.evaluate.scores import Score
from diptych.evaluate.tools import Tools
from diptych.protocols import Protocol, each_route


def scores(samples: Samples, tools: Tools) -> Iterator[Score]:
    if tools.judge is not None:
        of_classes = tools.the_judge().kind() == "class"
        yield from measures.taken_for_real(samples, tools) if of_classes else attribute_changed(samples, tools)
    yield from measures.colours(samples, tools)
    yield from measures.to_reals(samples, tools)


PROTOCOL = Protocol("unpaired-default", 1, __doc__, scores, each_route, chooses=("taken-for-target", "kid"))
