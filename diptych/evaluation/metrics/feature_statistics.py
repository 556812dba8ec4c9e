"""The arithmetic of distances of two sets of features: Fréchet distance, kernels, nearest neighbours, bins.

Features are (N, D) of the real images, (M, D) of the fake ones, in float64. `frechet`, `kernel`, `precision`, `recall`,
`different_bins` and `divergence` return a function of two masks, (N,) and (M,), of the images that count.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diptych.errors import EvaluationError

LEAST = 4  # images of a side
ROUNDS = 100  # of K-means at most
ROUNDING = 1e-12  # of squared distances, as a share of the largest square
NORMAL_95 = 1.959964  # standard deviations to either side that hold 95 % of a normal distribution

Measure = Callable[[np.ndarray, np.ndarray], float]  # of two masks: which real, and which fake images count


def frechet(real: np.ndarray, fake: np.ndarray) -> Measure:
    """|mu1 - mu2|^2 + tr(S1 + S2 - 2 sqrt(S1 S2)), 0 or more."""
    return lambda n, m: _frechet(real[n], fake[m])


def kernel(real: np.ndarray, fake: np.ndarray) -> Measure:
    """The unbiased squared MMD with the kernel (x.y / D + 1)^3."""
    return Kernels.of(real, fake).distance


def precision(real: np.ndarray, fake: np.ndarray, k: int = 3) -> Measure:
    """The share of fake images in the manifold of the real ones."""
    found = Neighbours.of(real, fake)
    return lambda n, m: found.share(n, m, k)


def recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> Measure:
    """The share of real images in the manifold of the fake ones."""
    found = Neighbours.of(fake, real)
    return lambda n, m: found.share(m, n, k)


def different_bins(real: np.ndarray, fake: np.ndarray, count: int, seed: int, whiten: bool) -> Measure:
    """NDB / K of `bins`."""
    return bins(real, fake, count, seed, whiten).different


def divergence(real: np.ndarray, fake: np.ndarray, count: int, seed: int, whiten: bool) -> Measure:
    """The divergence of `bins` by Jensen and Shannon."""
    return bins(real, fake, count, seed, whiten).divergence


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
    real, fake = checked(real, fake)
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


def checked(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As float64. EvaluationError for fewer than LEAST images, features of two sizes, or not finite."""
    found = []
    for side, features in (("real image", real), ("fake image", fake)):
        features = np.asarray(features, np.float64)
        if features.ndim != 2:
            raise EvaluationError(f"features of {side}s are to be (images, dimensions), not {features.shape}")
        if len(features) < LEAST:
            raise EvaluationError(f"{len(features)} {side}s are too few; at least {LEAST} are needed")
        bad = np.flatnonzero(~np.isfinite(features).all(1))
        if len(bad):
            raise EvaluationError(f"the features of {side} {bad[0]} are not all finite numbers")
        found.append(features)
    real, fake = found
    if real.shape[1] != fake.shape[1]:
        sizes = f"{real.shape[1]} and {fake.shape[1]}"
        raise EvaluationError(f"features of {sizes} dimensions cannot be compared; embed both sets alike")
    return real, fake
