"""stargan-expressions: every test image with every expression; the share that a judge names wrongly.

Choi et al. 2018, section 5.4, with a ResNet-18 on RaFD; here the judge is `diptych judge train classifier`, on any set
of classes. An image is translated to its own class too. The error on real images stands beside it as the ceiling.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from diptych.contract import Method
from diptych.data.dataset import Split
from diptych.evaluation.metrics.intervals import Score, of_images
from diptych.evaluation.metrics.on_controls import as_asked
from diptych.evaluation.protocols import Protocol, each_pair
from diptych.evaluation.samples import TranslationJob


def ways(method: Method, split: Split, train: Split) -> list[TranslationJob]:
    return each_pair(method, split, own=True)


def overall(found: Sequence[Score]) -> Iterator[Score]:
    wrong = 1 - np.concatenate([score.each for score in found])
    ceiling = 1 - float(np.mean([score.ceiling for score in found if score.ceiling is not None]))
    chance = 1 - (found[0].chance or 0)
    yield of_images("expression-error", wrong, chance=chance, ceiling=ceiling)


PROTOCOL = Protocol(
    "stargan-expressions",
    1,
    __doc__,
    ways,
    {as_asked: ("as-asked",)},
    needs_judge=True,
    overall=overall,
    overall_metrics=("expression-error",),
)
