"""starganv2: FID and LPIPS of latent-guided and reference-guided synthesis (Choi et al. 2020, section 4.1).

Each held-out source is translated ten times to each other domain, with ten latent codes or with ten held-out reference
images. FID compares all of these with the training images of the target domain, by `torchvision-inception-v3`. LPIPS is
the mean over all pairs of the ten. Both are means over all ordered pairs of domains. Also L1 over the same pairs, and
with a classifier the share assigned to the target domain.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from diptych.contract import Method
from diptych.data.dataset import Split, select
from diptych.errors import EvaluationError
from diptych.evaluation.metrics.intervals import Score, mean_score
from diptych.evaluation.metrics.on_controls import as_requested, diversity
from diptych.evaluation.metrics.on_samples import distribution_scores, if_evaluator
from diptych.evaluation.protocols import Protocol, domain_pair_jobs, known_labels
from diptych.evaluation.samples import Choices, TranslationJob

COPIES = 10  # translations of each source
MODES = ("latent", "reference")


def jobs(method: Method, split: Split, train: Split) -> list[TranslationJob]:
    """Return jobs for every pair of domains in both modes. EvaluationError if the method lacks a control."""
    if not {"domain", "seed", "reference"} <= {control.name for control in method.controls}:
        raise EvaluationError("this protocol is for methods with the controls domain, seed and reference")
    entry = method.routes[0].source
    both_modes = []
    for job in domain_pair_jobs(method, split):
        domain = job.choices(0)[0]["domain"]
        number = known_labels(method, split).names.index(domain)
        references = select(split.columns[entry], split.members[number].tolist())
        targets = select(train.columns[entry], train.members[number].tolist())
        common = replace(job, targets=targets, aligned=False, references=references)
        both_modes.append(replace(common, name=f"{job.name}-latent", choices=_latent_guided(domain)))
        reference_guided = _reference_guided(domain, len(references))
        both_modes.append(replace(common, name=f"{job.name}-reference", choices=reference_guided))
    return both_modes


def _latent_guided(domain: str) -> Choices:
    return lambda index: [{"domain": domain, "seed": COPIES * index + copy} for copy in range(COPIES)]


def _reference_guided(domain: str, count: int) -> Choices:
    orders = [np.random.RandomState(copy).permutation(count).tolist() for copy in range(COPIES)]
    return lambda index: [{"domain": domain, "reference": order[index % count]} for order in orders]


def mean_by_mode(scores: Sequence[Score]) -> Iterator[Score]:
    """Yield the mean of each metric over all pairs of domains, for each mode."""
    for mode in MODES:
        for name in ("fid", "lpips-diversity", "l1-diversity", "as-asked"):
            if of_mode := [score for score in scores if score.name.endswith(f"-{mode}/{name}")]:
                yield mean_score(f"{mode}/{name}", of_mode)


PROTOCOL = Protocol(
    "starganv2",
    1,
    __doc__,
    jobs,
    {
        distribution_scores: ("fid",),
        diversity: ("l1-diversity", "lpips-diversity"),
        if_evaluator(as_requested): ("as-asked",),
    },
    summarise=mean_by_mode,
)
