"""Agreement of raters: Krippendorff's alpha.

Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011).
"""

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np

from diptych.errors import StudyError

Scale = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(answers: Sequence[Hashable], units: Sequence[Hashable], scale: Scale = "nominal") -> float:
    """Return Krippendorff's alpha: 1 is perfect agreement, 0 agreement by chance.

    answers, units: answer of each vote, and what it is about (an image, a pair). Units with one vote are ignored.
    scale: how far answers are from each other; the two others need answers that can be ordered or subtracted.
    StudyError if no unit has two votes. 1 if all answers are equal.
    """
    values, codes = np.unique(np.asarray(answers), return_inverse=True)
    _, index = np.unique(np.asarray(units), return_inverse=True)
    counts = np.zeros((index.max(initial=-1) + 1, len(values)))
    np.add.at(counts, (index, codes), 1)
    counts = counts[counts.sum(1) >= 2]
    if not len(counts):
        raise StudyError("agreement: no image or pair has the answers of two raters")
    pairs = 1 / (counts.sum(1) - 1)
    observed = np.einsum("u,uc,uk->ck", pairs, counts, counts) - np.diag(pairs @ counts)
    totals = observed.sum(1)
    expected = (np.outer(totals, totals) - np.diag(totals)) / (totals.sum() - 1)
    distance = _distances(values, totals, scale)
    disagreement = (expected * distance).sum()
    return float(1 - (observed * distance).sum() / disagreement) if disagreement else 1.0


def _distances(values: np.ndarray, totals: np.ndarray, scale: Scale) -> np.ndarray:
    """Return the squared distance of each pair of values, which are sorted."""
    if scale == "nominal":
        return 1 - np.eye(len(values))
    if scale == "interval":
        return np.subtract.outer(values.astype(float), values.astype(float)) ** 2
    ranks = np.cumsum(totals) - totals / 2  # middle of each value's ranks
    return np.subtract.outer(ranks, ranks) ** 2
