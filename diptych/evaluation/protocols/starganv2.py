"""starganv2: FID and LPIPS of latent-guided and reference-guided synthesis (Choi et al. 2020, section 4.1).

Each held-out source is translated ten times to each other domain, with ten latent codes or with ten held-out reference
images. FID compares all of these with the training images of the target domain, by `torchvision-inception-v3`. LPIPS is
the mean over all pairs of the ten. Both are means over all ordered pairs of domains. Also L1 over the same pairs, and
with a classifier the share assigned to the target domain.

A method of two domains (MUNIT, DRIT, MSGAN) is evaluated alike, on each of its routes; without a control `reference`
only with latent codes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from diptych.contract import Method, Route
from diptych.data.dataset import Split, select
from diptych.errors import EvaluationError
from diptych.evaluation.metrics.intervals import Score, mean_score
from diptych.evaluation.metrics.on_controls import as_requested, diversity
from diptych.evaluation.metrics.on_samples import classified_as_target, distribution_scores, if_evaluator
from diptych.evaluation.protocols import Protocol, domain_pair_jobs, known_labels, same_controls
from diptych.evaluation.samples import Choices, Samples, TranslationJob
from diptych.evaluation.tools import Tools

COPIES = 10  # translations of each source
MODES = ("latent", "reference")


def jobs(method: Method, split: Split, train: Split) -> list[TranslationJob]:
    """Return jobs for every pair of domains in each mode. EvaluationError for a method without latent codes."""
    names = {control.name for control in method.controls}
    if "seed" not in names:
        raise EvaluationError("this protocol is for methods with latent codes: this one has no control `seed`")
    if not method.traits.multi_domain:
        return [job for route in method.routes for job in _route_jobs(route, split, train, "reference" in names)]
    entry = method.routes[0].source
    both_modes = []
    for job in domain_pair_jobs(method, split):
        domain = job.choices(0)[0]["domain"]
        number = known_labels(method, split).names.index(domain)
        references = select(split.columns[entry], split.class_indices[number].tolist())
        targets = select(train.columns[entry], train.class_indices[number].tolist())
        common = replace(job, targets=targets, aligned=False, references=references)
        both_modes += _in_modes(common, {"domain": domain}, "reference" in names)
    return both_modes


def _route_jobs(route: Route, split: Split, train: Split, has_references: bool) -> list[TranslationJob]:
    """Return the jobs of a route between two domains."""
    job = TranslationJob(
        f"{route.source}-{route.target}",
        split.columns[route.source],
        train.columns[route.target],
        False,
        same_controls(route.controls),
        (route.source, route.target),
        references=split.columns[route.target],
        target_name=route.target,
    )
    return _in_modes(job, route.controls, has_references)


def _in_modes(job: TranslationJob, controls: Mapping[str, Any], has_references: bool) -> list[TranslationJob]:
    """Return the job with latent codes and, if the method has references, with those."""
    choices = {"latent": _latent_guided(controls)}
    if has_references:
        choices["reference"] = _reference_guided(controls, len(job.references))
    return [replace(job, name=f"{job.name}-{mode}", choices=choices[mode]) for mode in choices]


def _latent_guided(controls: Mapping[str, Any]) -> Choices:
    return lambda index: [{**controls, "seed": COPIES * index + copy} for copy in range(COPIES)]


def _reference_guided(controls: Mapping[str, Any], count: int) -> Choices:
    orders = [np.random.RandomState(copy).permutation(count).tolist() for copy in range(COPIES)]
    return lambda index: [{**controls, "reference": order[index % count]} for order in orders]


def in_target_domain(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield the share of translations that the classifier assigns to the target domain, as `as-asked`.

    Of a method of two domains, the target is the class that it assigns most real images to.
    """
    if "domain" in samples.rows[0].controls:
        yield from as_requested(samples, tools, names)
    else:
        yield from (replace(score, name="as-asked") for score in classified_as_target(samples, tools, names))


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
        if_evaluator(in_target_domain): ("as-asked",),
    },
    summarise=mean_by_mode,
)
