"""Statistics of two sets of features: Fréchet distance, kernel distance, nearest neighbours, bins.

Features are (N, D) of the real images, (M, D) of the fake ones, in float64. `frechet`, `kernel`, `precision`, `recall`,
`different_bins` and `divergence` return a function of two masks, (N,) and (M,), that select images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diptych.errors import EvaluationError

MIN_IMAGES = 4  # in a set
MAX_ITERATIONS = 100  # of K-means
ROUNDING = 1e-12  # error of squared distances, relative to the largest squared norm
NORMAL_95 = 1.959964  # half of the 95 % interval of a normal distribution, in standard deviations

SetStatistic = Callable[[np.ndarray, np.ndarray], float]  # of two masks, of real and of fake images


def frechet(real: np.ndarray, fake: np.ndarray) -> SetStatistic:
    """Return the Fréchet distance |mu1 - mu2|^2 + tr(S1 + S2 - 2 sqrt(S1 S2)), at least 0."""
    return lambda n, m: _frechet(real[n], fake[m])


def kernel(real: np.ndarray, fake: np.ndarray) -> SetStatistic:
    """Return the unbiased squared MMD with the kernel (x.y / D + 1)^3."""
    return Kernels.of(real, fake).distance


def precision(real: np.ndarray, fake: np.ndarray, k: int = 3) -> SetStatistic:
    """Return the share of fake images in the manifold of the real ones."""
    neighbours = Neighbours.of(real, fake)
    return lambda n, m: neighbours.share(n, m, k)


def recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> SetStatistic:
    """Return the share of real images in the manifold of the fake ones."""
    neighbours = Neighbours.of(fake, real)
    return lambda n, m: neighbours.share(m, n, k)


def different_bins(real: np.ndarray, fake: np.ndarray, count: int, seed: int, whiten: bool) -> SetStatistic:
    """Return NDB / K of `bins`."""
    return bins(real, fake, count, seed, whiten).different


def divergence(real: np.ndarray, fake: np.ndarray, count: int, seed: int, whiten: bool) -> SetStatistic:
    """Return the Jensen-Shannon divergence of `bins`."""
    return bins(real, fake, count, seed, whiten).divergence


def _frechet(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the exact Fréchet distance for any number of images.

    With A^T A = S1 and B^T B = S2, tr sqrt(S1 S2) is the sum of the singular values of A B^T. The centred features are
    such a root; if they have more rows than columns, the R of their QR decomposition is a smaller one.
    """
    a, b, gap = _root(real), _root(fake), real.mean(0) - fake.mean(0)
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(0.0, float(gap @ gap + np.square(a).sum() + np.square(b).sum() - 2 * shared))


def _root(features: np.ndarray) -> np.ndarray:
    """Return A of at most D rows, where A^T A is the covariance of the features (N, D)."""
    centred = (features - features.mean(0)) / np.sqrt(len(features) - 1)
    return centred if centred.shape[0] <= centred.shape[1] else np.asarray(np.linalg.qr(centred, mode="r"))


@dataclass(frozen=True)
class Kernels:
    """Kernel values of all pairs of images, computed once for all masks. Two sets of 10 000 images take 2.4 GB."""

    real: np.ndarray  # (N, N), 0 on the diagonal
    fake: np.ndarray  # (M, M), 0 on the diagonal
    cross: np.ndarray  # (N, M)

    @classmethod
    def of(cls, real: np.ndarray, fake: np.ndarray) -> "Kernels":
        kernels = cls(_kernel(real, real), _kernel(fake, fake), _kernel(real, fake))
        np.fill_diagonal(kernels.real, 0)
        np.fill_diagonal(kernels.fake, 0)
        return kernels

    def distance(self, real: np.ndarray, fake: np.ndarray) -> float:
        """Return KID of the images in the masks (N,) and (M,), at least two images each."""
        n, m = np.count_nonzero(real), np.count_nonzero(fake)
        within = real @ self.real @ real / (n * (n - 1)) + fake @ self.fake @ fake / (m * (m - 1))
        return float(within - 2 * (real @ self.cross @ fake) / (n * m))


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3


@dataclass(frozen=True)
class Neighbours:
    """Squared distances from the images whose manifold is estimated: to each other, and to the probe images."""

    within: np.ndarray  # (N, N)
    across: np.ndarray  # (N, M)
    slack: float  # tolerance for rounding: a copy of an image lies exactly on the edge

    @classmethod
    def of(cls, images: np.ndarray, probes: np.ndarray) -> "Neighbours":
        centre = images.mean(0)  # centring keeps the squares small, so that distances lose no digits
        images, probes = images - centre, probes - centre
        largest = max(float(np.square(features).sum(1).max()) for features in (images, probes))
        return cls(_squares(images, images), _squares(images, probes), ROUNDING * largest)

    def share(self, images: np.ndarray, probes: np.ndarray, k: int) -> float:
        """Return the share of the masked probes in the manifold of the masked images. EvaluationError for k images."""
        count = np.count_nonzero(images)
        if count <= k:
            raise EvaluationError(f"{count} images are too few for {k} nearest neighbours; at least {k + 1} are needed")
        radii = np.partition(self.within[np.ix_(images, images)], k, axis=1)[:, k]  # index 0 is the image itself
        return float((self.across[np.ix_(images, probes)] <= radii[:, None] + self.slack).any(0).mean())


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum(np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * (a @ b.T), 0)


@dataclass(frozen=True)
class Bins:
    """The bin of each image, 0 to `count` - 1: `real` (N,) and `fake` (M,)."""

    real: np.ndarray
    fake: np.ndarray
    count: int

    def shares(self, real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the share of the masked images in each bin, (count,) for real and for fake images."""
        real_bins, fake_bins = self.real[real], self.fake[fake]
        p = np.bincount(real_bins, minlength=self.count) / len(real_bins)
        q = np.bincount(fake_bins, minlength=self.count) / len(fake_bins)
        return p, q

    def different(self, real: np.ndarray, fake: np.ndarray) -> float:
        """Return NDB / K: the share of bins whose proportions differ by a two-proportion z-test at p = 0.05."""
        n, m = np.count_nonzero(real), np.count_nonzero(fake)
        p, q = self.shares(real, fake)
        pooled = (n * p + m * q) / (n + m)
        error = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        return float(np.mean(np.abs(p - q) > NORMAL_95 * error))

    def divergence(self, real: np.ndarray, fake: np.ndarray) -> float:
        """Return the Jensen-Shannon divergence in nats: 0 for equal shares, ln 2 if no bin has images of both sets."""
        p, q = self.shares(real, fake)
        middle = (p + q) / 2
        return float((_kl(p, middle) + _kl(q, middle)) / 2)


def _kl(p: np.ndarray, q: np.ndarray) -> float:
    """Return the Kullback-Leibler divergence; q is positive where p is."""
    return np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0]))


def bins(real: np.ndarray, fake: np.ndarray, count: int = 100, seed: int = 0, whiten: bool = True) -> Bins:
    """Return bins by K-means on the real images, for NDB and JSD (Richardson and Weiss 2018, section 3).

    `whiten` divides each dimension by its standard deviation over the real images: an option of the authors' code, off
    by default there; Mao et al. (2019) report NDB with it switched on. The bins depend on the order of the real images
    and on `seed`. EvaluationError if there are fewer distinct real images than bins; the authors advise hundreds of
    images per bin.
    """
    real, fake = check_features(real, fake)
    if whiten:
        mean, deviation = real.mean(0), real.std(0)
        deviation[deviation == 0] = 1  # a constant dimension does not affect the bins
        real, fake = (real - mean) / deviation, (fake - mean) / deviation
    centres = _centres(real, count, np.random.RandomState(seed))
    return Bins(_nearest(real, centres), _nearest(fake, centres), count)


def _centres(points: np.ndarray, count: int, random: np.random.RandomState) -> np.ndarray:
    """Return K-means centres: k-means++ initialisation (Arthur and Vassilvitskii 2007), then Lloyd iterations."""
    chosen = [random.randint(len(points))]
    distances = np.square(points - points[chosen[0]]).sum(1)
    while len(chosen) < count:
        if not distances.any():
            raise EvaluationError(f"{len(chosen)} distinct real images are too few for {count} bins; use fewer bins")
        chosen.append(random.choice(len(points), p=distances / distances.sum()))
        distances = np.minimum(distances, np.square(points - points[chosen[-1]]).sum(1))
    centres = points[chosen]
    for _ in range(MAX_ITERATIONS):
        before, labels = centres, _nearest(points, centres)
        used = np.unique(labels)
        centres = before.copy()
        centres[used] = [points[labels == label].mean(0) for label in used]
        if np.array_equal(before, centres):
            break
    return centres


def _nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return (np.square(centres).sum(1) - 2 * points @ centres.T).argmin(1)


def check_features(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64. EvaluationError for fewer than MIN_IMAGES, different sizes, or non-finite features."""
    real, fake = _check_set("real", real), _check_set("fake", fake)
    if real.shape[1] != fake.shape[1]:
        sizes = f"{real.shape[1]} and {fake.shape[1]}"
        raise EvaluationError(f"features of {sizes} dimensions cannot be compared; use one extractor for both sets")
    return real, fake


def _check_set(kind: str, features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, np.float64)
    if features.ndim != 2:
        raise EvaluationError(f"features of {kind} images: expected (images, dimensions), got {features.shape}")
    if len(features) < MIN_IMAGES:
        raise EvaluationError(f"{len(features)} {kind} images are too few; at least {MIN_IMAGES} are needed")
    bad = np.flatnonzero(~np.isfinite(features).all(1))
    if len(bad):
        raise EvaluationError(f"the features of {kind} image {bad[0]} are not all finite numbers")
    return features


def mean_cosine_distance(features: np.ndarray) -> float:
    """Return the mean cosine distance (0 to 2) over all pairs of rows of features (N, D), N at least 2."""
    count = len(features)
    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    of_pairs = (np.square(directions.sum(0)).sum() - np.square(directions).sum()) / (count * (count - 1))
    return float(1 - of_pairs)
