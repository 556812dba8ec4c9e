"""Distances of two sets of images by their features: FID, KID, precision and recall, NDB and JSD.

Features are what an embedder makes of each image: (N, D) of the real ones, (M, D) of the fake. All is in float64.
`fid`, `kid`, `precision`, `recall`, `ndb` and `jsd` return a Score. Its jackknife leaves out group g of both sets, the
images whose position modulo the number of groups is g: so both lose the same share, and pairs stay together.

EvaluationError, throughout: fewer than 4 images on a side, features of two sizes, or not finite.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from diptych.errors import EvaluationError
from diptych.evaluate import scores
from diptych.evaluate.scores import NORMAL_95, Score

ROUNDS = 100  # of K-means at most
ROUNDING = 1e-12  # of squared distances, as a share of the largest square

Measure = Callable[[np.ndarray, np.ndarray], float]  # of two masks: which real, and which fake images count


def _frechet(real: np.ndarray, fake: np.ndarray) -> float:
    """Exact whatever the counts: with roots A^T A = S1 and B^T B = S2, tr sqrt(S1 S2) is the sum of the singular values
    of A B^T. The centred features are such a root; where they have more rows than columns, the R of their QR is a
    smaller one.
    """
    a, b, gap = _root(real), _root(fake), real.mean(0) - fake.mean(0)
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(0.0, float(gap @ gap + np.square(a).sum() + np.square(b).sum() - 2 * shared))


def _root(features: np.ndarray) -> np.ndarray:
    """A of at most D rows with A^T A the covariance of the features (N, D)."""
    centred = (features - features.mean(0)) / np.sqrt(len(features) - 1)
    return centred if centred.shape[0] <= centred.shape[1] else np.asarray(np.linalg.qr(centred, mode="r"))


@dataclass(frozen=True)
class Kernels:
    """The kernel of each two images, once for all subsets. 10 000 images of each side take 2.4 GB."""

    real: np.ndarray  # (N, N), 0 on the diagonal: no image is a pair with itself
    fake: np.ndarray  # (M, M), the same
    cross: np.ndarray  # (N, M)

    @classmethod
    def of(cls, real: np.ndarray, fake: np.ndarray) -> "Kernels":
        made = cls(_kernel(real, real), _kernel(fake, fake), _kernel(real, fake))
        np.fill_diagonal(made.real, 0)
        np.fill_diagonal(made.fake, 0)
        return made

    def distance(self, real: np.ndarray, fake: np.ndarray) -> float:
        """KID of the images in the masks (N,) and (M,), of two or more images each."""
        n, m = np.count_nonzero(real), np.count_nonzero(fake)
        within = real @ self.real @ real / (n * (n - 1)) + fake @ self.fake @ fake / (m * (m - 1))
        return float(within - 2 * (real @ self.cross @ fake) / (n * m))


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3


@dataclass(frozen=True)
class Neighbours:
    """Squared distances from the images whose manifold is estimated: to each other, and to the probes."""

    within: np.ndarray  # (N, N)
    across: np.ndarray  # (N, M)
    slack: float  # so that rounding does not move a probe that lies on the edge, such as a copy

    @classmethod
    def of(cls, images: np.ndarray, probes: np.ndarray) -> "Neighbours":
        centre = images.mean(0)  # far from 0, squares would leave no digits for distances
        images, probes = images - centre, probes - centre
        largest = max(float(np.square(side).sum(1).max()) for side in (images, probes))
        return cls(_squares(images, images), _squares(images, probes), ROUNDING * largest)

    def share(self, images: np.ndarray, probes: np.ndarray, k: int) -> float:
        """Of the probes in their mask, the share within the manifold of the images in theirs, more than k of them."""
        count = np.count_nonzero(images)
        if count <= k:
            raise EvaluationError(f"the {k} nearest neighbours of an image are not to be found among {count} images")
        radii = np.partition(self.within[np.ix_(images, images)], k, axis=1)[:, k]  # the nearest is the image itself
        return float((self.across[np.ix_(images, probes)] <= radii[:, None] + self.slack).any(0).mean())


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum(np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * (a @ b.T), 0)


@dataclass(frozen=True)
class Bins:
    """In which of `count` bins each image falls: `real` (N,) and `fake` (M,)."""

    real: np.ndarray
    fake: np.ndarray
    count: int

    def shares(self, real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the images in the masks, the share in each bin, (count,) for either side."""
        sides = self.real[real], self.fake[fake]
        p, q = (np.bincount(side, minlength=self.count) / len(side) for side in sides)
        return p, q

    def different(self, real: np.ndarray, fake: np.ndarray) -> float:
        """NDB / K: the share of bins where a two-proportion z-test tells the sides apart at p = 0.05."""
        n, m = np.count_nonzero(real), np.count_nonzero(fake)
        p, q = self.shares(real, fake)
        pooled = (n * p + m * q) / (n + m)
        error = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        return float(np.mean(np.abs(p - q) > NORMAL_95 * error))

    def divergence(self, real: np.ndarray, fake: np.ndarray) -> float:
        """Jensen and Shannon's, in nats: 0 for equal shares, ln 2 if no bin has images of both sides."""
        p, q = self.shares(real, fake)
        middle = (p + q) / 2
        return float(sum(np.sum(s[s > 0] * np.log(s[s > 0] / middle[s > 0])) for s in (p, q)) / 2)


def bins(real: np.ndarray, fake: np.ndarray, count: int = 100, seed: int = 0, whiten: bool = True) -> Bins:
    """Bins of features or pixels by K-means of the real images, for NDB and JSD (Richardson and Weiss 2018, section 3).

    `whiten` divides each dimension by its standard deviation over the real images, which the authors' code can do and
    by default does not; those of mode seeking (Mao et al. 2019) report NDB with its defaults and that switched on. The
    bins depend on the order of the real images and on `seed`. EvaluationError if there are fewer different real images
    than bins; the authors advise hundreds of images for each bin.
    """
    real, fake = _checked(real, fake)
    if whiten:
        mean, deviation = real.mean(0), real.std(0)
        deviation[deviation == 0] = 1  # equal for all, it moves no image to another bin
        real, fake = (real - mean) / deviation, (fake - mean) / deviation
    centres = _centres(real, count, np.random.RandomState(seed))
    return Bins(_nearest(real, centres), _nearest(fake, centres), count)


def _centres(points: np.ndarray, count: int, random: np.random.RandomState) -> np.ndarray:
    """K-means: begun as k-means++ (Arthur and Vassilvitskii 2007), then Lloyd's rounds."""
    chosen = [random.randint(len(points))]
    apart = np.square(points - points[chosen[0]]).sum(1)
    while len(chosen) < count:
        if not apart.any():
            raise EvaluationError(f"{len(chosen)} different real images are too few for {count} bins; ask for fewer")
        chosen.append(random.choice(len(points), p=apart / apart.sum()))
        apart = np.minimum(apart, np.square(points - points[chosen[-1]]).sum(1))
    centres = points[chosen]
    for _ in range(ROUNDS):
        before, labels = centres, _nearest(points, centres)
        found = np.unique(labels)
        centres = before.copy()
        centres[found] = [points[labels == label].mean(0) for label in found]
        if np.array_equal(before, centres):
            break
    return centres


def _nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return (np.square(centres).sum(1) - 2 * points @ centres.T).argmin(1)


def fid(real: np.ndarray, fake: np.ndarray) -> Score:
    """|mu1 - mu2|^2 + tr(S1 + S2 - 2 sqrt(S1 S2)), 0 or more: FID if the features are Inception's (Heusel et al. 2017).

    Warns where images are fewer than dimensions: it then says more of their number than of them.
    """
    real, fake = _checked(real, fake)
    fewest, dimensions = min(len(real), len(fake)), real.shape[1]
    if fewest < dimensions:
        warnings.warn(
            f"FID of {fewest} images with {dimensions} features each is far too high, and only good to compare models "
            "judged on as many; KID is not biased so",
            stacklevel=2,
        )
    return of_sets("fid", lambda n, m: _frechet(real[n], fake[m]), len(real), len(fake), "lower")


def kid(real: np.ndarray, fake: np.ndarray) -> Score:
    """The unbiased squared MMD with the kernel (x.y / D + 1)^3 (Binkowski et al. 2018, section 4).

    Over all images, where the paper averages over random subsets of 1000: the same is expected, with less noise. Sets
    that are alike score about 0, and half of the time below. Tables often print 100 or 1000 times as much.
    """
    real, fake = _checked(real, fake)
    return of_sets("kid", Kernels.of(real, fake).distance, len(real), len(fake), "lower")


def precision(real: np.ndarray, fake: np.ndarray, k: int = 3) -> Score:
    """The share of fake images in the manifold of the real ones (Kynkaanniemi et al. 2019, equations 1 and 2).

    The manifold of a set is the union of balls, one round each image, that reach to its k-th nearest neighbour in the
    set. EvaluationError if that is left with fewer than k + 1 images.
    """
    real, fake = _checked(real, fake)
    found = Neighbours.of(real, fake)
    return of_sets("precision", lambda n, m: found.share(n, m, k), len(real), len(fake), "higher")


def recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> Score:
    """The share of real images in the manifold of the fake ones; see `precision`."""
    real, fake = _checked(real, fake)
    found = Neighbours.of(fake, real)
    return of_sets("recall", lambda n, m: found.share(m, n, k), len(real), len(fake), "higher")


def ndb(real: np.ndarray, fake: np.ndarray, count: int = 100, seed: int = 0, whiten: bool = True) -> Score:
    """NDB / K of `bins`; papers also print NDB, which is `count` times as much. Of equal sets it is about 0.05.

    It jumps where a bin passes the test, so its interval is a rough one. The bins stay those of all real images.
    """
    real, fake = _checked(real, fake)
    return of_sets("ndb", bins(real, fake, count, seed, whiten).different, len(real), len(fake), "lower")


def jsd(real: np.ndarray, fake: np.ndarray, count: int = 100, seed: int = 0, whiten: bool = True) -> Score:
    """The divergence of `bins`, which stay those of all real images; the fewer images in each, the higher it is."""
    real, fake = _checked(real, fake)
    return of_sets("jsd", bins(real, fake, count, seed, whiten).divergence, len(real), len(fake), "lower")


def of_sets(name: str, measure: Measure, real: int, fake: int, better: Literal["lower", "higher"]) -> Score:
    """Of a measure of masks (real,) and (fake,), which lose the same share of both sets together."""
    within = (-math.inf, math.inf) if name in ("fid", "kid") else (0.0, 1.0)  # the others are shares
    return scores.of_set(name, lambda kept: measure(_alike(kept, real), kept), fake, better, within)


def _alike(kept: np.ndarray, count: int) -> np.ndarray:
    """Of `count` images of the other set, those to keep: `kept` repeats with the number of groups."""
    groups = min(scores.GROUPS, len(kept) // 2)
    return kept[np.arange(count) % groups]


def _checked(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As float64; the errors of this module's head."""
    checked = []
    for side, features in (("real image", real), ("fake image", fake)):
        features = np.asarray(features, np.float64)
        if features.ndim != 2:
            raise EvaluationError(f"features of {side}s are to be (images, dimensions), not {features.shape}")
        if len(features) < scores.LEAST:
            raise EvaluationError(f"{len(features)} {side}s are too few; at least {scores.LEAST} are needed")
        bad = np.flatnonzero(~np.isfinite(features).all(1))
        if len(bad):
            raise EvaluationError(f"the features of {side} {bad[0]} are not all finite numbers")
        checked.append(features)
    real, fake = checked
    if real.shape[1] != fake.shape[1]:
        sizes = f"{real.shape[1]} and {fake.shape[1]}"
        raise EvaluationError(f"features of {sizes} dimensions cannot be compared; embed both sets alike")
    return real, fake
