"""The staircase of HYPE_time (Zhou et al. 2019): a right answer shortens the next exposure, a wrong one lengthens it.

The exposure settles where as many steps go up as down: raters are right in up_ms / (up_ms + down_ms) of trials. A
rater's threshold is the mean over blocks of the exposure that was shown most often.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from diptych.studies.design import Design


def next_exposure(design: Design, correct: Sequence[bool]) -> int | None:
    """Return the exposure in ms of the trial after these answers, in order; without a staircase that of the design."""
    steps, exposure = design.staircase, design.exposure_ms
    if steps is None or exposure is None:
        return exposure
    block = design.trials // steps.blocks
    for right in correct[len(correct) // block * block :]:
        moved = exposure - steps.down_ms if right else exposure + steps.up_ms
        exposure = min(max(moved, steps.min_ms), steps.max_ms)
    return exposure


def threshold(design: Design, trials: Sequence[int], exposures: Sequence[int]) -> float:
    """Return the threshold in ms of a rater from the numbers of trials and their exposures.

    Of exposures that are equally frequent in a block, the mean counts; the paper does not say.
    """
    assert design.staircase is not None
    block = design.trials // design.staircase.blocks
    own: dict[int, list[int]] = {}
    for trial, exposure in zip(trials, exposures, strict=True):
        own.setdefault(trial // block, []).append(exposure)
    return float(np.mean([_mode(each) for each in own.values()]))


def _mode(values: Sequence[int]) -> float:
    counts = Counter(values)
    most = max(counts.values())
    return float(np.mean([value for value, count in counts.items() if count == most]))
