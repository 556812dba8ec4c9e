"""msgan-diversity: the diversity of translations of one source, as in Mao et al. (2019, section 4).

Each held-out source is translated with ten seeds. L1 and LPIPS are means over all pairs of the ten; near 0, the latent
code has no effect. Quality is measured too, as noise alone would be diverse: with a classifier of domains the share
assigned to the target domain; paired metrics where the ground truth is known, as means over the ten; FID, KID,
precision, recall, NDB and JSD of features (NDB and JSD are of pixels in the paper).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from diptych.contract import Method
from diptych.data.dataset import Split
from diptych.errors import EvaluationError
from diptych.evaluation.metrics import distribution
from diptych.evaluation.metrics.image_sets import image_set
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.metrics.on_controls import diversity
from diptych.evaluation.metrics.on_samples import (
    classified_as_target,
    distribution_scores,
    if_evaluator,
    if_paired,
    paired_scores,
)
from diptych.evaluation.metrics.table import TO_REALS, TO_TARGET
from diptych.evaluation.protocols import Protocol, route_jobs
from diptych.evaluation.samples import Choices, Samples, TranslationJob
from diptych.evaluation.tools import Tools

COPIES = 10  # translations of each source
BINS = 20  # for NDB and JSD


def jobs(method: Method, split: Split, train: Split) -> list[TranslationJob]:
    """Return a job per route with ten seeds per source. EvaluationError for deterministic or multi-domain methods."""
    if "seed" not in {control.name for control in method.controls}:
        raise EvaluationError("this protocol is for methods with a latent code: this one has no control `seed`")
    if method.domains:
        raise EvaluationError("this protocol is for two domains; for a multi-domain method give protocol starganv2")
    return [replace(job, choices=_with_seeds(job.choices)) for job in route_jobs(method, split, train)]


def _with_seeds(choices: Choices) -> Choices:
    """Return choices with ten copies of each set of controls, each with another seed."""
    return lambda index: [
        {**controls, "seed": COPIES * index + copy} for controls in choices(index) for copy in range(COPIES)
    ]


def bin_scores(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield NDB and JSD, if an extractor is available and there are at least twice as many real images as bins."""
    reals = samples.real_files()
    if tools.extractor is None or tools.get_extractor() is None:
        return
    if len(reals) < 2 * BINS:
        tools.note(
            f"no NDB and JSD: {len(reals)} real images are too few for {BINS} bins; at least {2 * BINS} are needed"
        )
        return
    real = tools.features(image_set(reals), cache=True)
    fake = tools.features(image_set(samples.files("fake")))
    yield distribution.ndb(real, fake, BINS)
    yield distribution.jsd(real, fake, BINS)


PROTOCOL = Protocol(
    "msgan-diversity",
    1,
    __doc__,
    jobs,
    {
        diversity: ("l1-diversity", "lpips-diversity"),
        if_evaluator(classified_as_target): ("taken-for-target",),
        if_paired(paired_scores): TO_TARGET,
        distribution_scores: TO_REALS,
        bin_scores: ("ndb", "jsd"),
    },
)
