"""drawn: images out of noise, as many as there are held-out real ones, held against those as sets.

FID, KID, precision and recall; histograms of colour.
"""

from diptych.contract import Method
from diptych.data.dataset import Split
from diptych.errors import EvaluationError
from diptych.evaluation.metrics.on_samples import colours, distribution_scores
from diptych.evaluation.metrics.table import COLOURS, TO_REALS
from diptych.evaluation.protocols import Protocol, always
from diptych.evaluation.samples import TranslationJob


def ways(method: Method, split: Split, train: Split) -> list[TranslationJob]:
    """EvaluationError for a method that makes nothing out of noise alone."""
    if not method.traits.unconditional:
        raise EvaluationError("this protocol is for methods that make images out of noise alone")
    name = next(iter(method.channels()))
    return [TranslationJob("drawn", (), split.columns[name], False, always({}), (name, name))]


PROTOCOL = Protocol("drawn", 1, __doc__, ways, {colours: COLOURS, distribution_scores: TO_REALS}, chooses=("kid",))
