"""Distances of two sets of images by their features: FID, KID, precision and recall, NDB and JSD.

Features are what an embedder makes of each image: (N, D) of the real ones, (M, D) of the fake. All is in float64.
`fid`, `kid`, `precision`, `recall`, `ndb` and `jsd` return a Score. Its jackknife leaves out group g of both sets, the
images whose position modulo the number of groups is g: so both lose the same share, and pairs stay together.

EvaluationError, throughout: fewer than 4 images on a side, features of two sizes, or not finite.
"""

import warnings

import numpy as np

from diptych.evaluation.metrics import intervals
from diptych.evaluation.metrics.feature_statistics import Measure, checked
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.metrics.table import metric_of


def fid(real: np.ndarray, fake: np.ndarray) -> Score:
    """|mu1 - mu2|^2 + tr(S1 + S2 - 2 sqrt(S1 S2)), 0 or more: FID if the features are Inception's (Heusel et al. 2017).

    Warns where images are fewer than dimensions: it then says more of their number than of them.
    """
    real, fake = checked(real, fake)
    fewest, dimensions = min(len(real), len(fake)), real.shape[1]
    if fewest < dimensions:
        warnings.warn(
            f"FID of {fewest} images with {dimensions} features each is far too high, and only good to compare models "
            "judged on as many; KID is not biased so",
            stacklevel=2,
        )
    return scored("fid", real, fake)


def kid(real: np.ndarray, fake: np.ndarray) -> Score:
    """The unbiased squared MMD with the kernel (x.y / D + 1)^3 (Binkowski et al. 2018, section 4).

    Over all images, where the paper averages over random subsets of 1000: the same is expected, with less noise. Sets
    that are alike score about 0, and half of the time below. Tables often print 100 or 1000 times as much.
    """
    return scored("kid", real, fake)


def precision(real: np.ndarray, fake: np.ndarray, k: int = 3) -> Score:
    """The share of fake images in the manifold of the real ones (Kynkaanniemi et al. 2019, equations 1 and 2).

    The manifold of a set is the union of balls, one round each image, that reach to its k-th nearest neighbour in the
    set. EvaluationError if that is left with fewer than k + 1 images.
    """
    return scored("precision", real, fake, k)


def recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> Score:
    """The share of real images in the manifold of the fake ones; see `precision`."""
    return scored("recall", real, fake, k)


def ndb(real: np.ndarray, fake: np.ndarray, count: int = 100, seed: int = 0, whiten: bool = True) -> Score:
    """NDB / K of `bins`; papers also print NDB, which is `count` times as much. Of equal sets it is about 0.05.

    It jumps where a bin passes the test, so its interval is a rough one. The bins stay those of all real images.
    """
    return scored("ndb", real, fake, count, seed, whiten)


def jsd(real: np.ndarray, fake: np.ndarray, count: int = 100, seed: int = 0, whiten: bool = True) -> Score:
    """The divergence of `bins`, which stay those of all real images; the fewer images in each, the higher it is."""
    return scored("jsd", real, fake, count, seed, whiten)


def scored(name: str, real: np.ndarray, fake: np.ndarray, *settings: float) -> Score:
    """The metric of that name in the table, of features (N, D) and (M, D)."""
    real, fake = checked(real, fake)
    return of_sets(name, metric_of(name).function(real, fake, *settings), len(real), len(fake))


def of_sets(name: str, measure: Measure, real: int, fake: int) -> Score:
    """Of a measure of masks (real,) and (fake,), which lose the same share of both sets together."""
    return intervals.of_set(name, lambda kept: measure(_alike(kept, real), kept), fake)


def _alike(kept: np.ndarray, count: int) -> np.ndarray:
    """Of `count` images of the other set, those to keep: `kept` repeats with the number of groups."""
    groups = min(intervals.GROUPS, len(kept) // 2)
    return kept[np.arange(count) % groups]
