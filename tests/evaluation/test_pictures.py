"""`diptych.evaluation.metrics.paired` against scikit-image, SciPy, and formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate1d
from skimage import color
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics.pairwise import cosine_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from diptych.errors import EvaluationError
from diptych.evaluation.metrics import paired
from diptych.evaluation.metrics.paired import identity, l1, lab, lab_histograms, luma, ms_ssim, psnr, ssim

SOME = settings(deadline=None, max_examples=20)
SEEDS = st.integers(0, 10**6)
PAIRED = [l1, psnr, ssim, ms_ssim, lambda a, b: paired.psnr_y(a, b, 2), lambda a, b: paired.ssim_y(a, b, 2)]
GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}


def pairs(seed, height=30, width=23, channels=3, count=2, noise=40):
    """Blurred noise, and the same with other noise on it: (N, C, H, W) uint8, with black and white."""
    random = np.random.RandomState(seed)
    truth = random.rand(count, channels, height, width)
    for axis in (2, 3):
        truth = correlate1d(truth, np.ones(5), axis)
    truth = (truth - truth.min()) / np.ptp(truth) * 255
    fake = np.clip(truth + random.randn(*truth.shape) * noise, 0, 255)
    return tuple(torch.from_numpy(side.astype(np.uint8)) for side in (fake, truth))


def images(*sides):
    """Of each pair the arrays (H, W, C) as scikit-image wants them."""
    return zip(
        *([np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in side] for side in sides), strict=True
    )


@SOME
@given(SEEDS, st.integers(11, 40), st.integers(11, 40), st.sampled_from([1, 3]), st.floats(1, 90))
def test_l1_psnr_and_ssim_are_those_of_scikit_image(seed, height, width, channels, noise):
    fake, truth = pairs(seed, height, width, channels, noise=noise)
    found = list(images(fake, truth))
    np.testing.assert_allclose(l1(fake, truth), [np.abs(a / 127.5 - b / 127.5).mean() for a, b in found], rtol=1e-12)
    np.testing.assert_allclose(psnr(fake, truth), [peak_signal_noise_ratio(b, a) for a, b in found], rtol=1e-12)
    expected = [structural_similarity(a, b, channel_axis=2, **GAUSSIAN) for a, b in found]
    np.testing.assert_allclose(ssim(fake, truth), expected, rtol=1e-9, atol=1e-9)
    for values in (l1(fake, truth), psnr(fake, truth), ssim(fake, truth)):
        assert values.dtype == np.float64
        assert values.shape == (2,)


def test_the_mean_of_torchmetrics_differs_by_its_mirrored_edges_alone():
    """So much for how libraries agree: within 5 pixels of the edge they do not, elsewhere they do."""
    fake, truth = pairs(0, count=1)
    mean, whole = structural_similarity_index_measure(
        fake.double(), truth.double(), sigma=1.5, data_range=255.0, return_full_image=True
    )
    assert ssim(fake, truth)[0] == pytest.approx(whole[..., 5:-5, 5:-5].mean().item(), rel=1e-9)
    assert abs(ssim(fake, truth)[0] - mean.item()) > 1e-4


def test_ssim_of_white_images():
    """Where float32, with squares of 255 at hand, finds 0.999."""
    white = torch.full((1, 3, 20, 20), 255, dtype=torch.uint8)
    assert ssim(white, white)[0] == pytest.approx(1, abs=1e-9)


def of_the_paper(a, b):
    """MS-SSIM of one image (C, H, W) by separate one-dimensional sums, without padding."""
    window = np.exp(-(np.arange(-5, 6) ** 2) / 2 / 1.5**2)

    def blurred(x):
        for axis in (1, 2):
            x = correlate1d(x, window / window.sum(), axis)
        return x[:, 5:-5, 5:-5]

    product = 1
    for scale, power in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        m, n = blurred(a), blurred(b)
        contrast = (2 * (blurred(a * b) - m * n) + 58.5225) / (
            blurred(a * a) - m * m + blurred(b * b) - n * n + 58.5225
        )
        luminance = (2 * m * n + 6.5025) / (m * m + n * n + 6.5025)
        product *= (contrast * (luminance if scale == 4 else 1)).mean() ** power
        a, b = (x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2] for x in (a, b))
        a, b = (x.reshape(len(x), x.shape[1] // 2, 2, -1, 2).mean((2, 4)) for x in (a, b))
    return product


@pytest.mark.parametrize(("height", "width", "channels"), [(176, 176, 3), (190, 201, 1)])
def test_ms_ssim_is_that_of_its_paper(height, width, channels):
    fake, truth = pairs(0, height, width, channels)
    expected = [of_the_paper(a, b) for a, b in zip(fake.double().numpy(), truth.double().numpy(), strict=True)]
    np.testing.assert_allclose(ms_ssim(fake, truth), expected, rtol=1e-9)


def test_ms_ssim_is_0_where_one_scale_is_opposite():
    """A chessboard and its negative on the same picture, which all but the finest scale see alone."""
    _, truth = pairs(0, 176, 176)
    board = torch.from_numpy(np.indices((176, 176)).sum(0) % 2 * 80)
    base = truth.int() // 2 + 40
    one, other = (base + board).to(torch.uint8), (base + 80 - board).to(torch.uint8)
    assert (ms_ssim(one, other) == 0).all()
    assert (ms_ssim(255 - truth, truth) == 0).all()
    assert (ms_ssim(one, one) == 1).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_equal_images_score_best(seed):
    _, truth = pairs(seed, 176, 176, count=1)
    for measure, best in zip(PAIRED, (0, 100, 1, 1, 100, 1), strict=True):
        np.testing.assert_allclose(measure(truth, truth), best, atol=1e-12)


def test_black_and_white():
    black, white = torch.zeros(1, 3, 20, 20, dtype=torch.uint8), torch.full((1, 3, 20, 20), 255, dtype=torch.uint8)
    assert l1(black, white) == 2
    assert psnr(black, white) == 0
    assert paired.psnr_y(black, white, 0)[0] == pytest.approx(20 * np.log10(255 / 219))


def test_psnr_stays_finite_and_in_order_in_images_of_any_size():
    """One level of one value: 48.13 + 10 log10(values) dB, were it not for the bound."""
    truth = torch.zeros(1, 1, 200, 200, dtype=torch.uint8)
    fake = truth.clone()
    fake[0, 0, 3, 3] = 1
    assert psnr(fake, truth)[0] == pytest.approx(20 * np.log10(255) + 10 * np.log10(200 * 200))
    large = truth.repeat(1, 1, 4, 4)
    large[0, 0, 3, 3] = 1
    assert psnr(large, large * 0)[0] == 100


@SOME
@given(SEEDS, st.floats(5, 60))
def test_the_order_of_images_does_not_matter(seed, noise):
    fake, truth = pairs(seed, count=4, noise=noise)
    order = torch.from_numpy(np.random.RandomState(seed).permutation(4))
    for measure in (PAIRED[0], PAIRED[1], PAIRED[2], PAIRED[4], PAIRED[5]):
        np.testing.assert_array_equal(measure(fake[order], truth[order]), measure(fake, truth)[order])


@SOME
@given(SEEDS, st.integers(0, 4))
def test_y_is_that_of_scikit_image(seed, border):
    fake, truth = pairs(seed)
    sides = [[color.rgb2ycbcr(image)[..., 0] for image in side] for side in zip(*images(fake, truth), strict=True)]
    np.testing.assert_allclose(luma(fake)[:, 0].numpy(), sides[0], rtol=1e-12)
    cropped = [tuple(y[border : 30 - border, border : 23 - border] for y in pair) for pair in zip(*sides, strict=True)]
    expected = [peak_signal_noise_ratio(b, a, data_range=255) for a, b in cropped]
    np.testing.assert_allclose(paired.psnr_y(fake, truth, border), expected, rtol=1e-9)
    expected = [structural_similarity(a, b, **GAUSSIAN) for a, b in cropped]
    np.testing.assert_allclose(paired.ssim_y(fake, truth, border), expected, rtol=1e-9)


def test_y_of_grey_is_that_of_equal_channels():
    grey, _ = pairs(0, channels=1)
    assert torch.equal(luma(grey), luma(grey.repeat(1, 3, 1, 1)))
    ends = luma(torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None])
    assert ends.flatten().tolist() == pytest.approx([16, 235])


def test_lab_is_that_of_scikit_image():
    levels = torch.tensor([0, 1, 10, 11, 50, 128, 200, 255], dtype=torch.uint8)
    image = torch.cartesian_prod(levels, levels, levels).T.reshape(3, 32, 16)
    expected = color.rgb2lab(image.permute(1, 2, 0).numpy())
    np.testing.assert_allclose(lab(image).permute(1, 2, 0).numpy(), expected, atol=0.02)
    grey = lab(levels.repeat(3, 1)[..., None])
    assert grey[1:].abs().max() < 1e-9
    assert grey[0, -1].item() == pytest.approx(100)


def test_histograms_of_lab_have_their_bins_about_grey():
    fake, _ = pairs(0)
    found = lab_histograms(fake)
    assert found.shape == (2, 3, 111)
    for channel in range(3):
        for one, (image,) in zip(found, images(fake), strict=True):
            expected, _ = np.histogram(color.rgb2lab(image)[..., channel], np.arange(-111, 112, 2))
            assert np.abs(one[channel] - expected).sum() <= 0.02 * expected.sum()
            assert one[channel].sum() == expected.sum()
    grey = lab_histograms(torch.arange(256).to(torch.uint8).reshape(1, 1, 16, 16).repeat(1, 3, 1, 1))
    assert grey[0, 1:, 55].tolist() == [256, 256]
    assert grey[0, 0, 55] > 0
    assert grey[0, 0, :55].sum() == grey[0, 0, 106:].sum() == 0


def shared(fakes, reals):
    return paired.intersection(lab_histograms(fakes), lab_histograms(reals))


@SOME
@given(SEEDS)
def test_intersections_of_colours(seed):
    fake, real = pairs(seed, count=3)
    found = shared(fake, real)
    assert list(found) == ["L", "a", "b"]
    assert all(0 < value < 1 for value in found.values())
    assert shared(real, fake) == found
    assert shared(fake.flip(0), real.repeat(2, 1, 1, 1)) == pytest.approx(found)
    assert shared(real, real.flip(3)) == pytest.approx({"L": 1, "a": 1, "b": 1})


def test_colours_that_share_nothing_and_half():
    red, green = torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    red[:, 0], green[:, 1] = 255, 255
    assert shared(red, green) == {"L": 0, "a": 0, "b": 0}
    assert shared(torch.cat([red, green]), green[..., :2]) == {"L": 0.5, "a": 0.5, "b": 0.5}


@SOME
@given(SEEDS, st.floats(0.1, 9))
def test_identity_is_the_cosine(seed, scale):
    random = np.random.RandomState(seed)
    one, other = random.randn(2, 6, 5)
    np.testing.assert_allclose(identity(one, other), np.diag(cosine_similarity(one, other)), atol=1e-12)
    np.testing.assert_allclose(identity(one, one * scale), 1)
    np.testing.assert_allclose(identity(one, -one), -1)


def test_what_cannot_be_compared_is_refused():
    fake, truth = pairs(0, 200, 180)
    for measure in PAIRED:
        with pytest.raises(EvaluationError, match=r"2 images of 180x200 with 3 channels .* 1 images of 180x200"):
            measure(fake, truth[:1])
        with pytest.raises(EvaluationError, match=r"180x200 with 3 channels .* 179x200 with 3"):
            measure(fake, truth[..., :179])
        with pytest.raises(EvaluationError, match=r"with 3 channels .* with 1 channels"):
            measure(fake, truth[:, :1])
        with pytest.raises(EvaluationError, match=r"uint8 .* got torch.float32"):
            measure(fake / 255, truth / 255)
        with pytest.raises(EvaluationError, match=r"got torch.uint8 \(3, 200, 180\)"):
            measure(fake[0], truth[0])


def test_images_that_are_too_small_are_refused_with_their_size():
    fake, truth = pairs(0, 180, 175)
    with pytest.raises(EvaluationError, match=r"MS-SSIM needs at least 176 pixels on a side, .* 175x180"):
        ms_ssim(fake, truth)
    small = fake[..., :10], truth[..., :10]
    with pytest.raises(EvaluationError, match=r"SSIM needs at least 11 pixels on a side, .* 10x180"):
        ssim(*small)
    with pytest.raises(EvaluationError, match="5 pixels at each edge needs at least 11 pixels"):
        paired.psnr_y(*small, 5)
    with pytest.raises(EvaluationError, match="4 pixels at each edge needs at least 19 pixels"):
        paired.ssim_y(fake[..., :18], truth[..., :18], 4)
    assert paired.ssim_y(fake[..., :19], truth[..., :19], 4).shape == (2,)


def test_colours_need_colour():
    grey, _ = pairs(0, channels=1)
    with pytest.raises(EvaluationError, match="of 3 channels, got 1"):
        shared(grey, grey)
    with pytest.raises(EvaluationError, match="channels, got 2"):
        luma(grey.repeat(1, 2, 1, 1))
    with pytest.raises(EvaluationError, match="no images"):
        shared(grey[:0].repeat(1, 3, 1, 1), grey.repeat(1, 3, 1, 1))
    with pytest.raises(EvaluationError, match=r"\(2, 3\) and \(2, 4\)"):
        identity(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(EvaluationError, match="features of image 1 are all 0"):
        identity(np.eye(2), np.array([[1, 1], [0, 0]]))
