"""drawn: images out of noise, as many as there are held-out real ones, held against those as sets.

FID, KID, precision and recall; histograms of colour.
"""

from collections.abc import Iterator

from diptych.contract import Method
from diptych.data.columns import Split
from diptych.errors import EvaluationError
from diptych.evaluate import measures
from diptych.evaluate.samples import Samples, Way
from diptych.evaluate.scores import Score
from diptych.evaluate.tools import Tools
from diptych.protocols import Protocol, always


def ways(method: Method, split: Split, train: Split) -> list[Way]:
    """EvaluationError for a method that makes nothing out of noise alone."""
    if not method.noise:
        raise EvaluationError("this protocol is for methods that make images out of noise alone")
    name = next(iter(method.channels()))
    return [Way("drawn", (), split.columns[name], False, always({}), (name, name))]


def scores(samples: Samples, tools: Tools) -> Iterator[Score]:
    yield from measures.colours(samples, tools)
    yield from measures.to_reals(samples, tools)


PROTOCOL = Protocol("drawn", 1, __doc__, scores, ways, chooses=("kid",))
