"""stargan-expressions: the classification error of a classifier on translations to every class.

Choi et al. 2018, section 5.4, with a ResNet-18 on RaFD; here the classifier is one of `diptych evaluator train
classifier`, for any classes; `network=resnet18` is that architecture. An image is translated to its own class too. The
error on real images is the ceiling.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from diptych.contract import Method
from diptych.data.dataset import Split
from diptych.evaluation.metrics.intervals import Score, score_per_image
from diptych.evaluation.metrics.on_controls import as_requested
from diptych.evaluation.protocols import Protocol, domain_pair_jobs
from diptych.evaluation.samples import TranslationJob


def jobs(method: Method, split: Split, train: Split) -> list[TranslationJob]:
    """Return a job for each ordered pair of classes, also from a class to itself."""
    return domain_pair_jobs(method, split, to_own=True)


def expression_error(scores: Sequence[Score]) -> Iterator[Score]:
    """Yield the classification error over all translations."""
    wrong = 1 - np.concatenate([score.each for score in scores])
    ceiling = 1 - float(np.mean([score.ceiling for score in scores if score.ceiling is not None]))
    chance = 1 - (scores[0].chance or 0)
    yield score_per_image("expression-error", wrong, chance=chance, ceiling=ceiling)


PROTOCOL = Protocol(
    "stargan-expressions",
    1,
    __doc__,
    jobs,
    {as_requested: ("as-asked",)},
    needs_evaluator=True,
    summarise=expression_error,
    summary_metrics=("expression-error",),
)
