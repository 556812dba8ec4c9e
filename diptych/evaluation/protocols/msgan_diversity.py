"""msgan-diversity: many answers to one source, as Mao et al. (2019, section 4) count them.

Each held-out source is translated ten times, by ten seeds. L1 and LPIPS over all pairs of the ten: near 0 means that
the noise is left out. Beside it, so that noise alone does not win: with a judge of domains the share taken for the
target; where the truth is known L1 and what goes with it, a mean over the ten; by an extractor FID, KID, precision,
recall, and NDB and JSD, which are of its features here, of pixels in the paper.
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
    distribution_scores,
    paired_scores,
    taken_for_real,
    where_judged,
    where_paired,
)
from diptych.evaluation.metrics.table import TO_REALS, TO_TARGET
from diptych.evaluation.protocols import Protocol, each_route
from diptych.evaluation.samples import Choices, Samples, TranslationJob
from diptych.evaluation.tools import Tools

STYLES = 10
BINS = 20  # of NDB and JSD


def ways(method: Method, split: Split, train: Split) -> list[TranslationJob]:
    """Every route, ten seeds for each source. EvaluationError for a method without seeds, or of many domains."""
    if "seed" not in {control.name for control in method.controls}:
        raise EvaluationError("this protocol is for methods that have many answers: its controls lack a seed")
    if method.traits.multi_domain:
        raise EvaluationError("of many domains the answers are counted by protocol starganv2")
    return [replace(way, choices=_seeds(way.choices)) for way in each_route(method, split, train)]


def _seeds(plain: Choices) -> Choices:
    return lambda number: [
        {**controls, "seed": STYLES * number + copy} for controls in plain(number) for copy in range(STYLES)
    ]


def in_bins(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """NDB and JSD, where an extractor can be had and there are twice as many real pictures as bins."""
    reals = samples.real_files()
    if tools.extractor is None or tools.the_extractor() is None:
        return
    if len(reals) < 2 * BINS:
        tools.say(f"no NDB and JSD: {len(reals)} real pictures are too few for {BINS} bins")
        return
    real, fake = tools.features(image_set(reals), remember=True), tools.features(image_set(samples.files("fake")))
    yield distribution.ndb(real, fake, BINS)
    yield distribution.jsd(real, fake, BINS)


PROTOCOL = Protocol(
    "msgan-diversity",
    1,
    __doc__,
    ways,
    {
        diversity: ("l1-diversity", "lpips-diversity"),
        where_judged(taken_for_real): ("taken-for-target",),
        where_paired(paired_scores): TO_TARGET,
        distribution_scores: TO_REALS,
        in_bins: ("ndb", "jsd"),
    },
)
