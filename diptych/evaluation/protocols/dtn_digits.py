"""dtn-digits: the accuracy of a classifier on translations, as in Taigman et al. (2017, Table 1).

A translation has the label of its source. The classifier is trained on real images of the target domain. The scores
with prefix `source` are its accuracy on the sources themselves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from diptych.contract import Method
from diptych.data.dataset import Split
from diptych.errors import EvaluationError
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.metrics.on_samples import classifier_accuracy
from diptych.evaluation.protocols import Protocol, route_jobs
from diptych.evaluation.samples import Samples, TranslationJob
from diptych.evaluation.tools import Tools


def jobs(method: Method, split: Split, train: Split) -> list[TranslationJob]:
    """Return the jobs of all routes with labels. EvaluationError without class labels, or for multi-domain methods."""
    label = next((name for name in method.labels if name in split.columns), None)
    if label is None or split.labels is None or split.labels.kind != "class" or method.domains:
        raise EvaluationError("this protocol is for methods that translate labelled images to another data set")
    names = [split.labels.names[int(number)] for number in np.asarray(split.columns[label])]
    return [replace(job, labels=names) for job in route_jobs(method, split, train)]


def accuracy_on_sources(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield `classifier_accuracy` of the source images."""
    sources = replace(samples, rows=tuple(row.model_copy(update={"fake": row.source}) for row in samples.rows))
    for score in classifier_accuracy(sources, tools, names):
        yield replace(score, name=f"source/{score.name}")


METRICS = ("accuracy", "class-accuracy")
PROTOCOL = Protocol(
    "dtn-digits", 1, __doc__, jobs, {classifier_accuracy: METRICS, accuracy_on_sources: METRICS}, needs_evaluator=True
)
