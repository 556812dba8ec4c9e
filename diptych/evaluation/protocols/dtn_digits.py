"""dtn-digits: what a judge of the target's classes reads in translations, as Taigman et al. (2017, Table 1) count it.

Each translated image has the label of its source; the judge was trained on real images of the target. Beside it,
under `source`, what the judge reads in the sources as they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from diptych.contract import Method
from diptych.data.dataset import Split
from diptych.errors import EvaluationError
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.metrics.on_samples import classifier_accuracy
from diptych.evaluation.protocols import Protocol, each_route
from diptych.evaluation.samples import Samples, TranslationJob
from diptych.evaluation.tools import Tools


def ways(method: Method, split: Split, train: Split) -> list[TranslationJob]:
    """EvaluationError for images without classes, or a method of many domains, which takes those for classes."""
    label = next((name for name in method.label_fields() if name in split.columns), None)
    if label is None or split.labels is None or split.labels.kind != "class" or method.traits.multi_domain:
        raise EvaluationError("this protocol is for methods that translate images of a class to another set")
    named = [split.labels.names[int(number)] for number in np.asarray(split.columns[label])]
    return [replace(way, labels=named) for way in each_route(method, split, train)]


def sources_told_apart(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """`classifier_accuracy` of the sources as they are."""
    sources = replace(samples, rows=tuple(row.model_copy(update={"fake": row.source}) for row in samples.rows))
    for score in classifier_accuracy(sources, tools, names):
        yield replace(score, name=f"source/{score.name}")


NAMED = ("accuracy", "class-accuracy")
PROTOCOL = Protocol(
    "dtn-digits", 1, __doc__, ways, {classifier_accuracy: NAMED, sources_told_apart: NAMED}, needs_judge=True
)
