"""`diptych.evaluation.metrics.distribution` against scipy, torchmetrics, scikit-learn, plain loops, and formulas."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.spatial.distance import jensenshannon
from scipy.stats import norm
from sklearn.cluster import KMeans
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from diptych.errors import EvaluationError
from diptych.evaluation.metrics import distribution, feature_statistics, intervals
from diptych.evaluation.metrics.feature_statistics import Bins, Kernels, Neighbours, bins

SCORES = [distribution.fid, distribution.kid, distribution.precision, distribution.recall]
SEEDS = st.integers(0, 10**6)
SOME = settings(deadline=None, max_examples=30)


def sets(seed, real=40, fake=30, dimensions=8):
    """Two sets of features that overlap, off 0, of different spread in each direction."""
    random = np.random.RandomState(seed)
    mix = random.randn(dimensions, dimensions)
    return random.randn(real, dimensions) @ mix + 3, random.randn(fake, dimensions) @ mix * 0.8 + 3.5


def fid(real, fake):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few images
        return distribution.fid(real, fake).value


def kid(real, fake):
    return distribution.kid(real, fake).value


def precision_recall(real, fake, k=3):
    return distribution.precision(real, fake, k).value, distribution.recall(real, fake, k).value


class Given(torch.nn.Module):
    """Stands where torchmetrics expects Inception: its images are features."""

    def __init__(self, dimensions):
        super().__init__()
        self.num_features = dimensions

    def forward(self, x):
        return x


def of_torchmetrics(metric, real, fake):
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(fake), real=False)
    return metric.compute()


@SOME
@given(SEEDS, st.integers(9, 60), st.integers(9, 60))
def test_fid_is_that_of_scipy_and_torchmetrics(seed, n, m):
    real, fake = sets(seed, n, m)
    a, b = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    gap = real.mean(0) - fake.mean(0)
    expected = gap @ gap + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert fid(real, fake) == pytest.approx(expected, rel=1e-7)
    assert of_torchmetrics(FrechetInceptionDistance(Given(8)), real, fake).item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("counts", [(5, 6), (5, 40), (40, 5), (20, 20), (21, 20), (40, 30)])
def test_fid_of_few_images_and_of_many_are_by_one_formula(counts):
    """In 20 dimensions, by the eigenvalues of S1 S2 that are not 0: scipy's root fails on a singular matrix."""
    real, fake = sets(0, *counts, 20)
    gap = real.mean(0) - fake.mean(0)
    values = np.linalg.eigvals(np.cov(real, rowvar=False) @ np.cov(fake, rowvar=False))
    largest = np.sort(values.real)[::-1][: min(min(counts) - 1, 20)]
    expected = gap @ gap + real.var(0, ddof=1).sum() + fake.var(0, ddof=1).sum() - 2 * np.sqrt(largest).sum()
    assert fid(real, fake) == pytest.approx(expected, rel=1e-9)


@SOME
@given(SEEDS, st.integers(4, 30), st.floats(-100, 100), st.floats(0, 20))
def test_fid_of_shifted_and_scaled_features_is_known(seed, n, shift, scale):
    real, _ = sets(seed, n)
    assert fid(real, real) == pytest.approx(0, abs=1e-9)
    assert fid(real, real + shift) == pytest.approx(8 * shift**2, abs=1e-7)
    expected = (1 - scale) ** 2 * (np.square(real.mean(0)).sum() + real.var(0, ddof=1).sum())
    assert fid(real, real * scale) == pytest.approx(expected, abs=1e-7)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
@SOME
@given(SEEDS, st.integers(4, 40))
def test_kid_is_that_of_torchmetrics(seed, n):
    real, fake = sets(seed, n, n)
    metric = KernelInceptionDistance(Given(8), subsets=1, subset_size=n)
    expected = of_torchmetrics(metric, real, fake)[0].item()
    assert kid(real, fake) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_kid_by_a_loop_for_counts_that_differ():
    real, fake = sets(0, 7, 5)

    def mean(a, b, same):
        pairs = [(x, y) for i, x in enumerate(a) for j, y in enumerate(b) if not (same and i == j)]
        return np.mean([(x @ y / 8 + 1) ** 3 for x, y in pairs])

    expected = mean(real, real, True) + mean(fake, fake, True) - 2 * mean(real, fake, False)
    assert kid(real, fake) == pytest.approx(expected, rel=1e-12)


def test_kid_is_not_biased_where_fid_is():
    """Halves of one set: KID is 0 on the mean, FID never."""
    random = np.random.RandomState(0)
    values = np.array([kid(*random.randn(2, 20, 4)) for _ in range(400)])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
    assert (values < 0).any()
    assert all(fid(*random.randn(2, 20, 4)) > 0 for _ in range(50))


def by_loops(images, probes, k):
    inside = 0
    for probe in probes:
        for i, image in enumerate(images):
            radius = sorted(np.linalg.norm(image - other) for j, other in enumerate(images) if j != i)[k - 1]
            if np.linalg.norm(probe - image) <= radius:
                inside += 1
                break
    return inside / len(probes)


@SOME
@given(SEEDS, st.integers(1, 4), st.integers(10, 15), st.integers(10, 15))
def test_precision_and_recall_by_loops(seed, k, n, m):
    real, fake = sets(seed, n, m, 3)
    assert precision_recall(real, fake, k) == (by_loops(real, fake, k), by_loops(fake, real, k))


@pytest.mark.parametrize("far", [0, 1e6])
def test_copies_are_in_the_manifold_however_close_its_images_lie(far):
    random = np.random.RandomState(0)
    real = np.repeat(random.randn(5, 50), 4, 0) + far
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(real, real + 0.01)[0] == 0
    assert precision_recall(real[:8], real) == (1 / 2.5, 1)


def test_a_set_that_is_only_a_part_is_precise_and_recalls_little():
    real = np.random.RandomState(0).randn(200, 2) * 10
    fake = real[real[:, 0] > 8]
    precision, recall = precision_recall(real, fake)
    assert precision == 1
    assert recall < 0.5


@SOME
@given(SEEDS)
def test_the_order_of_images_does_not_matter(seed):
    real, fake = sets(seed)
    random = np.random.RandomState(seed)
    mixed = random.permutation(real), random.permutation(fake)
    assert fid(*mixed) == pytest.approx(fid(real, fake))
    assert kid(*mixed) == pytest.approx(kid(real, fake))
    assert precision_recall(*mixed) == precision_recall(real, fake)


@SOME
@given(SEEDS)
def test_subsets_score_as_if_the_rest_had_never_been(seed):
    real, fake = sets(seed)
    random = np.random.RandomState(seed)
    n, m = random.rand(len(real)) < 0.6, random.rand(len(fake)) < 0.6
    assume(min(n.sum(), m.sum()) > 3)
    expected = kid(real[n], fake[m])
    assert Kernels.of(real, fake).distance(n, m) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    pair = Neighbours.of(real, fake).share(n, m, 3), Neighbours.of(fake, real).share(m, n, 3)
    assert pair == precision_recall(real[n], fake[m])


def blobs(seed, shares, count):
    """Points about the corners of a square, as many at each as `shares` says."""
    corners = np.array([[0, 0], [0, 100], [100, 0], [100, 100]])
    random = np.random.RandomState(seed)
    return np.repeat(corners, np.multiply(shares, count).astype(int), 0) + random.randn(count, 2)


@pytest.mark.parametrize("whiten", [True, False])
def test_bins_find_the_groups_that_are_there(whiten):
    real, fake = blobs(0, (0.25, 0.25, 0.25, 0.25), 200), blobs(1, (0.5, 0.3, 0.2, 0), 100)
    found = bins(real, fake, 4, seed=3, whiten=whiten)
    everything = np.ones(200, bool), np.ones(100, bool)
    p, q = found.shares(*everything)
    assert list(p) == [0.25] * 4
    assert sorted(q) == [0, 0.2, 0.3, 0.5]
    assert found.divergence(*everything) == pytest.approx(jensenshannon(p, q) ** 2)
    assert found.different(*everything) == 0.5  # 25 % of 200 against 50 % and 0 % of 100, and not against 20 % and 30 %


@SOME
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=9))
def test_ndb_is_the_two_proportions_z_test(pairs):
    n, m = (sum(pair[side] for pair in pairs) for side in (0, 1))
    assume(n and m)
    found = Bins(*(np.repeat(np.arange(len(pairs)), [p[side] for p in pairs]) for side in (0, 1)), len(pairs))
    different = 0
    for a, b in pairs:
        pooled = (a + b) / (n + m)
        if 0 < pooled < 1:
            z = (a / n - b / m) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
            different += 2 * norm.sf(abs(z)) < 0.05
    assert found.different(np.ones(n, bool), np.ones(m, bool)) == different / len(pairs)


def test_bins_are_about_as_tight_as_those_of_scikit_learn():
    points = np.random.RandomState(0).rand(400, 5)
    centres = feature_statistics._centres(points, 10, np.random.RandomState(0))
    labels = feature_statistics._nearest(points, centres)
    for label in range(10):
        np.testing.assert_allclose(points[labels == label].mean(0), centres[label])  # Lloyd's rounds are at their end
    ours = np.square(points - centres[labels]).sum()
    assert ours < 1.05 * KMeans(10, n_init=1, random_state=0).fit(points).inertia_


def test_whitening_gives_each_dimension_its_say():
    random = np.random.RandomState(0)
    real = np.stack([random.randn(200) * 1000, np.repeat([0, 1], 100), np.ones(200)], 1)
    split = bins(real, real, 2, whiten=True)
    assert {split.real[0], split.real[100]} == {0, 1}
    assert split.different(*[np.ones(200, bool)] * 2) == split.divergence(*[np.ones(200, bool)] * 2) == 0
    assert len(set(split.real[:100])) == len(set(split.real[100:])) == 1
    assert len(set(bins(real, real, 2, whiten=False).real[:100])) == 2


def test_bins_need_as_many_different_images():
    with pytest.raises(EvaluationError, match="3 distinct real images are too few for 4 bins"):
        bins(np.repeat(np.arange(3.0), 5)[:, None], np.zeros((4, 1)), 4)


@pytest.mark.parametrize(("name", "args"), [("fid", ()), ("kid", ()), ("precision", (2,)), ("recall", (2,))])
@pytest.mark.parametrize(("n", "m"), [(40, 40), (63, 29), (29, 63), (7, 12), (6, 60)])
def test_scores_leave_out_the_same_share_of_both_sets(name, args, n, m):
    real, fake = sets(0, n, m, 2)
    score = vars(distribution)[name](real, fake, *args)
    plain = {
        "fid": fid,
        "kid": kid,
        "precision": lambda r, f: by_loops(r, f, 2),
        "recall": lambda r, f: by_loops(f, r, 2),
    }[name]
    assert (score.name, score.count, score.by) == (name, m, "jackknife")
    assert score.value == pytest.approx(plain(real, fake), rel=1e-9)
    groups = min(20, m // 2)
    parts = [(real[np.arange(n) % groups != g], fake[np.arange(m) % groups != g]) for g in range(groups)]
    np.testing.assert_allclose(score.draws, [plain(*part) for part in parts], rtol=1e-9, atol=1e-12)
    assert score.better == ("lower" if name in ("fid", "kid") else "higher")


def test_scores_of_bins():
    real, fake = blobs(0, (0.25, 0.25, 0.25, 0.25), 200), blobs(1, (0.5, 0.3, 0.2, 0), 100)
    ndb, jsd = distribution.ndb(real, fake, 4), distribution.jsd(real, fake, 4)
    assert (ndb.name, ndb.value, ndb.better) == ("ndb", 0.5, "lower")
    assert (jsd.name, jsd.better) == ("jsd", "lower")
    assert jsd.value == pytest.approx(jensenshannon([0.25] * 4, [0.5, 0.3, 0.2, 0]) ** 2)
    assert jsd.low < jsd.value < jsd.high
    assert distribution.jsd(real, blobs(2, (0.25, 0.25, 0.25, 0.25), 100), 4).value == 0
    assert intervals.difference(jsd, jsd).value == 0


def test_the_interval_of_kid_covers_the_distance_of_the_populations():
    """Of normals of spread 1/2 about 0 and 1/2: (xy + 1)^3 is 1 + 3 xy + 3 x^2 y^2 + x^3 y^3, so their moments say."""
    expected = 3 * 0.5**2 + 3 * 0.25**2 + 0.5**2
    random = np.random.RandomState(0)
    covered = 0
    for _ in range(200):
        score = distribution.kid(random.randn(60, 1) / 2, random.randn(60, 1) / 2 + 0.5)
        covered += score.low <= expected <= score.high
    assert 0.9 <= covered / 200 <= 0.99


def test_fid_of_few_images_warns_once_and_names_kid():
    real, fake = sets(0, 9, 7)
    with pytest.warns(UserWarning, match="FID of 7 images with 8 features") as caught:
        distribution.fid(real, fake)
    assert len(caught) == 1
    assert "KID" in str(caught[0].message)
    assert caught[0].filename == __file__
    distribution.fid(*sets(0, 9, 8))  # as many as dimensions: no warning, which would be an error here


@pytest.mark.parametrize("measure", [bins, *SCORES])
def test_what_cannot_be_measured_is_refused(measure):
    real, fake = sets(0)
    broken = fake.copy()
    broken[17, 3] = np.nan
    with pytest.raises(EvaluationError, match="features of fake image 17 are not all finite"):
        measure(real, broken)
    with pytest.raises(EvaluationError, match="features of real image 17 are not all finite"):
        measure(np.where(np.isnan(broken), np.inf, broken), fake)
    with pytest.raises(EvaluationError, match="features of 8 and 7 dimensions"):
        measure(real, fake[:, :7])
    with pytest.raises(EvaluationError, match=r"\(images, dimensions\), got \(30, 8, 1\)"):
        measure(real, fake[..., None])
    with pytest.raises(EvaluationError, match="1 fake images are too few"):
        measure(real, fake[:1])
    with pytest.raises(EvaluationError, match="3 real images are too few; at least 4"):
        measure(real[:3], fake)
    if measure in (distribution.precision, distribution.recall):
        with pytest.raises(EvaluationError, match=r"\d+ images are too few for 30 nearest neighbours"):
            measure(fake, fake, 30)
