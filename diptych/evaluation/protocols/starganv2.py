"""starganv2: FID and LPIPS over all ordered pairs of domains, by drawn and by shown styles (Choi et al. 2020, 4.1).

Each held-out source is translated ten times, with ten codes drawn from the latent space or in the style of ten held-out
images of the target. FID: all of these against the training images of the target. LPIPS: the mean over all pairs of the
ten. Both are means over the pairs of domains. Its numbers are by `torchvision-inception-v3`; by another extractor they
are others. Beside them L1 over the same pairs of the ten, and with a judge the share that it takes for the target.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from diptych.contract import Method
from diptych.data.dataset import Split, select
from diptych.errors import EvaluationError
from diptych.evaluation.metrics.intervals import Score, averaged
from diptych.evaluation.metrics.on_controls import as_asked, diversity
from diptych.evaluation.metrics.on_samples import distribution_scores, where_judged
from diptych.evaluation.protocols import Protocol, each_pair, known_labels
from diptych.evaluation.samples import Choices, TranslationJob

STYLES = 10
MODES = ("latent", "reference")


def ways(method: Method, split: Split, train: Split) -> list[TranslationJob]:
    """Every pair of domains in both modes. EvaluationError for a method without styles, drawn and shown."""
    if not {"domain", "seed", "reference"} <= {control.name for control in method.controls}:
        raise EvaluationError(
            "this protocol is for methods that take a domain and, for its style, a seed or a reference"
        )
    image, found = method.routes[0].source, []
    for way in each_pair(method, split):
        domain = way.choices(0)[0]["domain"]
        number = known_labels(method, split).names.index(domain)
        shown = select(split.columns[image], split.class_indices[number].tolist())
        real = select(train.columns[image], train.class_indices[number].tolist())
        common = replace(way, targets=real, aligned=False, references=shown)
        found.append(replace(common, name=f"{way.name}-latent", choices=_drawn(domain)))
        found.append(replace(common, name=f"{way.name}-reference", choices=_shown(domain, len(shown))))
    return found


def _drawn(domain: str) -> Choices:
    return lambda number: [{"domain": domain, "seed": STYLES * number + copy} for copy in range(STYLES)]


def _shown(domain: str, count: int) -> Choices:
    orders = [np.random.RandomState(copy).permutation(count).tolist() for copy in range(STYLES)]
    return lambda number: [{"domain": domain, "reference": order[number % count]} for order in orders]


def overall(found: Sequence[Score]) -> Iterator[Score]:
    for mode in MODES:
        for name in ("fid", "lpips-diversity", "l1-diversity", "as-asked"):
            if each := [score for score in found if score.name.endswith(f"-{mode}/{name}")]:
                yield averaged(f"{mode}/{name}", each)


PROTOCOL = Protocol(
    "starganv2",
    1,
    __doc__,
    ways,
    {
        distribution_scores: ("fid",),
        diversity: ("l1-diversity", "lpips-diversity"),
        where_judged(as_asked): ("as-asked",),
    },
    overall=overall,
)
