"""unconditional: images generated from noise, as many as there are held-out real images, compared as sets.

FID, KID, precision and recall; colour histograms.
"""

from diptych.contract import Method
from diptych.data.dataset import Split
from diptych.errors import EvaluationError
from diptych.evaluation.metrics.on_samples import colour_scores, distribution_scores
from diptych.evaluation.metrics.table import COLOURS, TO_REALS
from diptych.evaluation.protocols import Protocol, same_controls
from diptych.evaluation.samples import GENERATED, TranslationJob


def jobs(method: Method, split: Split, train: Split) -> list[TranslationJob]:
    """Return one job without sources. EvaluationError for a method that does not generate from noise."""
    if not method.noise:
        raise EvaluationError("this protocol is for methods that generate images from noise alone")
    entry = next(iter(method.channels()))
    return [TranslationJob(GENERATED, (), split.columns[entry], False, same_controls({}), (entry, entry))]


PROTOCOL = Protocol(
    "unconditional",
    1,
    __doc__,
    jobs,
    {
        colour_scores: COLOURS,
        distribution_scores: TO_REALS,
    },
    monitors=("kid",),
)
