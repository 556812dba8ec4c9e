"""starganv2: FID and LPIPS of latent-guided and reference-guided synthesis (Choi et al. 2020, section 4.1).

Each held-out source is translated ten times to each other domain, with ten latent codes or with ten held-out reference
images. FID compares all of these with the training images of the target domain, by `torchvision-inception-v3`. LPIPS is
the mean over all pairs of the ten. Both are means over all ordered pairs of domains. LPIPS takes the generator's own
outputs, FID the images in 8 bits, as the public code does. Also L1 over the same pairs, the cosine distance of the
extractor's features, and with a classifier the share assigned to the target domain.

A method of two domains (MUNIT, DRIT, MSGAN) is evaluated alike, on each of its routes; without a control `reference`
only with latent codes. A method without latent codes (rows A to C of Table 1, StarGAN, CycleGAN) has one output for
each source, which counts as `latent`: it has no LPIPS, and its FID is that of one output, as ten would be equal.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from diptych.contract import Method, Route
from diptych.data.dataset import Split, select
from diptych.errors import EvaluationError
from diptych.evaluation.metrics.intervals import Score, mean_score
from diptych.evaluation.metrics.on_controls import as_requested, diversity, feature_diversity
from diptych.evaluation.metrics.on_samples import classified_as_target, distribution_scores, if_evaluator
from diptych.evaluation.protocols import Protocol, domain_pair_jobs, known_labels, same_controls
from diptych.evaluation.samples import Choices, Samples, TranslationJob
from diptych.evaluation.tools import Tools

COPIES = 10  # translations of each source
MODES = ("latent", "reference")


def jobs(method: Method, split: Split, train: Split) -> list[TranslationJob]:
    """Return jobs for every pair of domains in each mode. EvaluationError for a method without source images."""
    names = {control.name for control in method.controls}
    if not method.traits.multi_domain:
        return [job for route in method.routes for job in _route_jobs(route, split, train, names)]
    entry = method.routes[0].source
    both_modes = []
    for job in domain_pair_jobs(method, split):
        domain = job.choices(0)[0]["domain"]
        number = known_labels(method, split).names.index(domain)
        references = select(split.columns[entry], split.class_indices[number].tolist())
        targets = select(train.columns[entry], train.class_indices[number].tolist())
        common = replace(job, targets=targets, aligned=False, references=references)
        both_modes += _in_modes(common, {"domain": domain}, names)
    return both_modes


def _route_jobs(route: Route, split: Split, train: Split, names: Collection[str]) -> list[TranslationJob]:
    """Return the jobs of a route between two domains, for a method with controls of these names."""
    if route.source not in split.columns:
        raise EvaluationError("this protocol translates between domains, and this method has no source domain")
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
    return _in_modes(job, route.controls, names)


def _in_modes(job: TranslationJob, controls: Mapping[str, Any], names: Collection[str]) -> list[TranslationJob]:
    """Return the job with latent codes, or with none, and with references if the method has them."""
    choices = {"latent": _latent_guided(controls) if "seed" in names else same_controls(controls)}
    if "reference" in names:
        choices["reference"] = _reference_guided(controls, len(job.references))
    return [replace(job, name=f"{job.name}-{mode}", choices=choices[mode], keeps_floats=True) for mode in choices]


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
        for name in ("fid", "lpips-diversity", "l1-diversity", "feature-diversity", "as-asked"):
            if of_mode := [score for score in scores if score.name.endswith(f"-{mode}/{name}")]:
                yield mean_score(f"{mode}/{name}", of_mode)


PROTOCOL = Protocol(
    "starganv2",
    2,
    __doc__,
    jobs,
    {
        distribution_scores: ("fid",),
        feature_diversity: ("feature-diversity",),
        diversity: ("l1-diversity", "lpips-diversity"),
        if_evaluator(in_target_domain): ("as-asked",),
    },
    summarise=mean_by_mode,
    distinct_images=True,
)
