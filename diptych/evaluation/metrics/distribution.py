"""Distances between two sets of images in feature space: FID, KID, precision and recall, NDB and JSD.

Inputs are the features of a feature network: (N, D) of real images, (M, D) of fake images, computed in float64.
`fid`, `kid`, `precision`, `recall`, `ndb` and `jsd` return a Score. Its jackknife leaves out group g of both sets, the
images whose index modulo the number of groups is g. Both sets lose the same share, and pairs stay together.

All raise EvaluationError for fewer than 4 images in a set, different feature sizes, or non-finite features.
"""

import warnings

import numpy as np

from diptych.evaluation.metrics import intervals
from diptych.evaluation.metrics.feature_statistics import SetStatistic, check_features
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.metrics.table import metric_of


def fid(real: np.ndarray, fake: np.ndarray) -> Score:
    """Return the Fréchet distance |mu1 - mu2|^2 + tr(S1 + S2 - 2 sqrt(S1 S2)), at least 0.

    With Inception features this is FID (Heusel et al. 2017). Warns if there are fewer images than dimensions, where
    the number of images biases it.
    """
    real, fake = check_features(real, fake)
    fewest, dimensions = min(len(real), len(fake)), real.shape[1]
    if fewest < dimensions:
        warnings.warn(
            f"FID of {fewest} images with {dimensions} features each is biased upwards: compare it only between models "
            "evaluated on the same number of images; KID is unbiased",
            stacklevel=2,
        )
    return distribution_score("fid", real, fake)


def kid(real: np.ndarray, fake: np.ndarray) -> Score:
    """Return KID, the unbiased squared MMD with the kernel (x.y / D + 1)^3 (Binkowski et al. 2018, section 4).

    It is computed on all images; the paper averages over random subsets of 1000, which has the same expectation and
    more noise. For two sets of one distribution it is about 0, and may be negative. Papers often report 100 or 1000
    times this value.
    """
    return distribution_score("kid", real, fake)


def precision(real: np.ndarray, fake: np.ndarray, k: int = 3) -> Score:
    """Return the share of fake images in the manifold of the real ones (Kynkaanniemi et al. 2019, equations 1 and 2).

    The manifold of a set is the union of balls around its images; the radius of each is the distance to its k-th
    nearest neighbour in the set. EvaluationError if a set has fewer than k + 1 images after the jackknife.
    """
    return distribution_score("precision", real, fake, k)


def recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> Score:
    """Return the share of real images in the manifold of the fake ones; see `precision`."""
    return distribution_score("recall", real, fake, k)


def ndb(real: np.ndarray, fake: np.ndarray, count: int = 100, seed: int = 0, whiten: bool = True) -> Score:
    """Return NDB / K, the share of statistically different bins; about 0.05 for two sets of one distribution.

    Papers also report NDB, which is `count` times this value. The interval is approximate, as NDB changes in steps. The
    bins are those of all real images, also for the jackknife.
    """
    return distribution_score("ndb", real, fake, count, seed, whiten)


def jsd(real: np.ndarray, fake: np.ndarray, count: int = 100, seed: int = 0, whiten: bool = True) -> Score:
    """Return the Jensen-Shannon divergence of the bins of `ndb`; it is biased upwards for few images per bin."""
    return distribution_score("jsd", real, fake, count, seed, whiten)


def distribution_score(name: str, real: np.ndarray, fake: np.ndarray, *settings: float) -> Score:
    """Return the score of a metric of the table for features (N, D) and (M, D)."""
    real, fake = check_features(real, fake)
    return score_of_sets(name, metric_of(name).function(real, fake, *settings), len(real), len(fake))


def score_of_sets(name: str, statistic: SetStatistic, real: int, fake: int) -> Score:
    """Return the score of a function of two masks, (real,) and (fake,); the jackknife leaves out parts of both."""
    return intervals.score_of_set(name, lambda mask: statistic(_mask_of_other_set(mask, real), mask), fake)


def _mask_of_other_set(mask: np.ndarray, count: int) -> np.ndarray:
    """Return the mask (count,) of the other set, which leaves out the same groups as `mask`."""
    groups = min(intervals.GROUPS, len(mask) // 2)
    return mask[np.arange(count) % groups]
