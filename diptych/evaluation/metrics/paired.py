"""Metrics of an image and its ground truth, one value per image, and colour histograms of a set.

Images are uint8 tensors (N, C, H, W), grey or sRGB; values are float64 arrays (N,). `valid` (N, H, W) is false where a
pair has no data: these pixels, and windows that touch one, do not count. An image without any other has the value NaN.
All functions raise EvaluationError if the shapes differ, or for images of another type.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.data.images.lab import SRGB_TO_XYZ
from diptych.errors import EvaluationError

MAX_PSNR = 100.0  # dB; the value of equal images, so that means stay finite
EDGE = 5  # radius of the 11 x 11 window of SSIM
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales of MS-SSIM, the finest first
MS_SSIM_SIDE = (2 * EDGE + 1) * 2 ** (len(EXPONENTS) - 1)  # 176 pixels: the window fits the coarsest scale
LUMA_WEIGHTS = (65.481, 128.553, 24.966)  # ITU-R BT.601: R, G and B in 0..1 to Y in 16..235
BIN_WIDTH = 2.0  # in L, a or b: just below the smallest visible difference
GREY = 5.0  # chroma below which a pixel counts as grey
SIDE_BINS = 55  # on each side of 0; sRGB has a in -86..98 and b in -108..95

# Of two images (C, H, W) as float64 in 0..255, and their valid pixels (H, W); None: all are valid.
PairFunction = Callable[[Tensor, Tensor, Tensor | None], float]


def l1(fake: Tensor, truth: Tensor, valid: Tensor | None = None) -> np.ndarray:
    """Return the mean absolute error of pixels in [-1, 1], so 0..2."""
    return _per_pair(fake, truth, lambda a, b, v: _mean((a - b).abs(), v) / 127.5, valid)


def psnr(fake: Tensor, truth: Tensor, valid: Tensor | None = None) -> np.ndarray:
    """Return 10 log10(255^2 / MSE) over all channels, in dB; at most 100, the value of equal images."""
    return _per_pair(fake, truth, _psnr, valid)


def _psnr(a: Tensor, b: Tensor, valid: Tensor | None) -> float:
    error = _mean((a - b).square(), valid)
    return float(np.minimum(MAX_PSNR, 10 * np.log10(255**2 / error))) if error else MAX_PSNR


def ssim(fake: Tensor, truth: Tensor, valid: Tensor | None = None) -> np.ndarray:
    """Return the structural similarity, -1..1 (Wang et al. 2004), with an 11 x 11 Gaussian window of sigma 1.5.

    It is the mean over channels, and over positions where the window is inside the image, as in the authors' code and
    scikit-image; torchmetrics also counts 5 pixels at each edge, with mirror padding. It is computed in float64, as
    float32 gives 0.999 for equal white images. EvaluationError for fewer than 11 pixels on a side.
    """
    _check_size(fake, 2 * EDGE + 1, "SSIM")
    return _per_pair(fake, truth, _ssim, valid)


def _ssim(a: Tensor, b: Tensor, valid: Tensor | None) -> float:
    return _mean(ssim_map(a, b), _without_holes(valid, 2 * EDGE + 1, 1))


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """Return SSIM at each position of the window: (C, H - 10, W - 10) of images (C, H, W) in float64, 0..255."""
    luminance, contrast = _similarity(a, b)
    return luminance * contrast


def _similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two factors of SSIM at each position, luminance and contrast-structure: both (C, H - 10, W - 10)."""
    mean_a, mean_b, aa, bb, ab = _blurred(torch.stack([a, b, a * a, b * b, a * b]))
    var_a, var_b, covariance = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    contrast = (2 * covariance + c2) / (var_a + var_b + c2)
    return luminance, contrast


def _blurred(images: Tensor) -> Tensor:
    """Return Gaussian window means (..., H - 10, W - 10); many times faster than PyTorch's convolution in float64."""
    weights = np.exp(-np.square(np.arange(-EDGE, EDGE + 1)) / (2 * 1.5**2))
    for dim in (-1, -2):
        size = images.shape[dim] - 2 * EDGE
        total = torch.zeros_like(images.narrow(dim, 0, size))
        for offset, weight in enumerate(weights / weights.sum()):
            total.add_(images.narrow(dim, offset, size), alpha=float(weight))
        images = total
    return images


def ms_ssim(fake: Tensor, truth: Tensor, valid: Tensor | None = None) -> np.ndarray:
    """Return multi-scale SSIM over five scales, 0..1 (Wang et al. 2003).

    Each scale has half the size of the previous one; luminance is taken from the last scale only. Terms are means over
    channels and positions as in `ssim`; a negative term counts as 0. EvaluationError for fewer than 176 pixels on a
    side.
    """
    _check_size(fake, MS_SSIM_SIDE, "MS-SSIM")
    return _per_pair(fake, truth, _ms_ssim, valid)


def _ms_ssim(a: Tensor, b: Tensor, valid: Tensor | None) -> float:
    product = 1.0
    for exponent in EXPONENTS[:-1]:
        contrast = _mean(_similarity(a, b)[1], _without_holes(valid, 2 * EDGE + 1, 1))
        product *= _not_negative(contrast) ** exponent
        a, b, valid = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2), _without_holes(valid, 2, 2)
    return product * _not_negative(_ssim(a, b, valid)) ** EXPONENTS[-1]


def _not_negative(value: float) -> float:
    """Return the larger one of a value and 0; NaN for NaN."""
    return float(np.maximum(0.0, value))


def _mean(values: Tensor, valid: Tensor | None) -> float:
    """Return the mean of values (C, H, W) where `valid` (H, W) is true; NaN if it is true nowhere."""
    return float((values if valid is None else values[:, valid]).mean())


def _without_holes(valid: Tensor | None, side: int, stride: int) -> Tensor | None:
    """Return for windows of `side` pixels whether all pixels (H, W) of each are valid; None for None."""
    if valid is None:
        return None
    holes: Tensor = F.max_pool2d((~valid).double()[None], side, stride)[0]
    return holes == 0


def luma(images: Tensor) -> Tensor:
    """Return Y of ITU-R BT.601 in 16..235, not rounded, (..., 1, H, W) in float64, as MATLAB's rgb2ycbcr of floats.

    Grey counts as equal R, G and B. EvaluationError unless images (..., C, H, W) have one or three channels.
    """
    _check_channels(images, (1, 3))
    weights = torch.tensor(LUMA_WEIGHTS, dtype=torch.float64, device=images.device)[:, None, None]
    return 16 + (images.double() * weights).sum(-3, keepdim=True) / 255


def psnr_y(fake: Tensor, truth: Tensor, border: int, valid: Tensor | None = None) -> np.ndarray:
    """Return `psnr` of `luma` without `border` pixels at each edge, as in papers on super-resolution.

    The peak is 255. EvaluationError if no pixels are left.
    """
    _check_size(fake, 2 * border + 1, f"PSNR without {border} pixels at each edge")
    return _per_pair(fake, truth, _on_inner_luma(_psnr, border), None if valid is None else _inner(valid, border))


def ssim_y(fake: Tensor, truth: Tensor, border: int, valid: Tensor | None = None) -> np.ndarray:
    """Return `ssim` of `luma` without `border` pixels at each edge. EvaluationError if fewer than 11 are left."""
    _check_size(fake, 2 * (border + EDGE) + 1, f"SSIM without {border} pixels at each edge")
    return _per_pair(fake, truth, _on_inner_luma(_ssim, border), None if valid is None else _inner(valid, border))


def _on_inner_luma(function: PairFunction, border: int) -> PairFunction:
    return lambda a, b, valid: function(_inner(luma(a), border), _inner(luma(b), border), valid)


def _inner(image: Tensor, border: int) -> Tensor:
    height, width = image.shape[-2:]
    return image[..., border : height - border, border : width - border]


def lab(images: Tensor) -> Tensor:
    """Return CIE L, a and b of sRGB images (..., 3, H, W), in float64, with L in 0..100 (IEC 61966-2-1, CIE 15).

    The white point is D65, that of sRGB, so grey has a = b = 0.
    """
    _check_channels(images, (3,))
    level = torch.arange(256, dtype=torch.float64) / 255
    linear = torch.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).to(images.device)
    matrix = torch.tensor(SRGB_TO_XYZ, dtype=torch.float64, device=images.device)
    xyz = torch.einsum("ij,...jhw->...ihw", matrix / matrix.sum(1, keepdim=True), linear[images.int()])
    x, y, z = torch.where(xyz > (6 / 29) ** 3, xyz ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29).unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -3)


def chroma(images: Tensor) -> np.ndarray:
    """Return the mean distance of colours from grey in the plane of a and b of CIE Lab, per image."""
    return _chroma(images).mean((1, 2)).numpy()


def grey_share(images: Tensor) -> np.ndarray:
    """Return the share of pixels whose chroma is below 5, which people see as grey, per image; the limit is ours."""
    return (_chroma(images) < GREY).double().mean((1, 2)).numpy()


def _chroma(images: Tensor) -> Tensor:
    _check_kind(images)
    return lab(images)[:, 1:].square().sum(1).sqrt().cpu()


def lab_histograms(images: Tensor) -> np.ndarray:
    """Return histograms of L, a and b of each image: int64 (N, 3, 111) with bin centres -110, -108 .. 110."""
    _check_kind(images)
    count = 2 * SIDE_BINS + 1
    histograms = np.zeros((len(images), 3, count), np.int64)
    for row, image in zip(histograms, images, strict=True):
        bins = (lab(image) / BIN_WIDTH).round().int().clamp(-SIDE_BINS, SIDE_BINS) + SIDE_BINS
        for channel in range(3):
            row[channel] = torch.bincount(bins[channel].flatten(), minlength=count).cpu().numpy()
    return histograms


def intersection(fakes: np.ndarray, reals: np.ndarray) -> dict[str, float]:
    """Return the intersection of the colour histograms of two sets, 0..1, by L, a and b.

    This is the comparison of Isola et al. (2017), section 4.2. The paper does not state its bin width; 2 is ours, and
    wider bins give higher values, so do not compare with the paper's numbers. Sets are given by their `lab_histograms`.
    EvaluationError if there are no images.
    """
    if not fakes.sum() or not reals.sum():
        raise EvaluationError("there are no images for colour histograms")
    p = fakes.sum(0) / fakes.sum((0, 2))[:, None]
    q = reals.sum(0) / reals.sum((0, 2))[:, None]
    return dict(zip("Lab", map(float, np.minimum(p, q).sum(1)), strict=True))


def identity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosine similarity of features (N, D) of pairs of images, -1..1: identity preservation of faces.

    EvaluationError if the shapes differ, or if the features of an image are all 0.
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if one.shape != other.shape or one.ndim != 2:
        raise EvaluationError(
            f"expected two feature arrays (images, dimensions) of one shape, got {one.shape} and {other.shape}"
        )
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    if not lengths.all():
        raise EvaluationError(f"the features of image {np.flatnonzero(lengths == 0)[0]} are all 0")
    return np.sum(one * other, axis=1) / lengths


def _per_pair(fake: Tensor, truth: Tensor, function: PairFunction, valid: Tensor | None = None) -> np.ndarray:
    """Return `function` of each pair, one at a time to limit memory."""
    _check_kind(fake)
    _check_kind(truth)
    if fake.shape != truth.shape:
        raise EvaluationError(
            f"{_describe(fake)} cannot be compared with {_describe(truth)}; expected pairs of one shape"
        )
    rows = []
    for index, (a, b) in enumerate(zip(fake, truth, strict=True)):
        mask = None if valid is None or valid[index].all() else valid[index]
        rows.append(function(a.double(), b.double(), mask))
    return np.array(rows, np.float64)


def _describe(images: Tensor) -> str:
    count, channels, height, width = images.shape
    return f"{count} images of {width}x{height} with {channels} channels"


def _check_kind(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise EvaluationError(f"expected images uint8 (N, C, H, W), got {images.dtype} {tuple(images.shape)}")


def _check_size(images: Tensor, min_side: int, name: str) -> None:
    _check_kind(images)
    if min(images.shape[2:]) < min_side:
        raise EvaluationError(f"{name} needs at least {min_side} pixels on a side, got {_describe(images)}")


def _check_channels(images: Tensor, allowed: tuple[int, ...]) -> None:
    if images.shape[-3] not in allowed:
        raise EvaluationError(f"expected images of {' or '.join(map(str, allowed))} channels, got {images.shape[-3]}")
