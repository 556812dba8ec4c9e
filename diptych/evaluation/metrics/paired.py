"""What is measured between a picture and its truth, one value for each, and the colours of a whole set.

Images are uint8 tensors (N, C, H, W), of one grey or three sRGB channels; values come as float64 arrays (N,). All is in
terms of 8 bits, as files hold them. EvaluationError, throughout: images of two shapes or counts, or of another kind.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.errors import EvaluationError

MOST_DB = 100.0  # PSNR of equal images, which has no bound, so that a mean over images stays a number
EDGE = 5  # pixels that the window of SSIM, 11 x 11, reaches to each side
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents of MS-SSIM, from the finest scale to the coarsest
LEAST_MS = (2 * EDGE + 1) * 2 ** (len(SCALES) - 1)  # 176: the coarsest scale still holds the window
LIGHT = (65.481, 128.553, 24.966)  # ITU-R BT.601: what R, G and B of 0..1 add to Y of 16..235
XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
STEP = 2.0  # of a bin in L, a or b: just below what the eye can tell apart
REACH = 55  # bins to each side of 0; sRGB has a within -86..98 and b within -108..95

Measure = Callable[[Tensor, Tensor], float]  # of two images (C, H, W) as float64 within 0..255


def l1(fake: Tensor, truth: Tensor) -> np.ndarray:
    """Mean absolute difference in the range [-1, 1] that networks see, so 0..2."""
    return _each(fake, truth, lambda a, b: float((a - b).abs().mean()) / 127.5)


def psnr(fake: Tensor, truth: Tensor) -> np.ndarray:
    """10 log10(255^2 / mean squared error) of all channels together, in dB; at most 100, which equal images have."""
    return _each(fake, truth, _psnr)


def _psnr(a: Tensor, b: Tensor) -> float:
    error = float((a - b).square().mean())
    return min(MOST_DB, 10 * np.log10(255**2 / error)) if error else MOST_DB


def ssim(fake: Tensor, truth: Tensor) -> np.ndarray:
    """Structural similarity, -1..1 (Wang et al. 2004), with a Gaussian window 11 x 11 of sigma 1.5.

    The mean over channels, and over the places where the window lies within the image, as in the authors' code and in
    scikit-image; torchmetrics also counts the 5 pixels at each edge, where it mirrors the image. In float64: float32
    calls equal images 0.999 alike where they are white. EvaluationError for less than 11 pixels on a side.
    """
    _check_size(fake, 2 * EDGE + 1, "SSIM")
    return _each(fake, truth, _ssim)


def _ssim(a: Tensor, b: Tensor) -> float:
    luminance, contrast = _similarity(a, b)
    return float((luminance * contrast).mean())


def _similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast with structure: the two factors of SSIM at each place, both (C, H - 10, W - 10)."""
    mean_a, mean_b, aa, bb, ab = _blurred(torch.stack([a, b, a * a, b * b, a * b]))
    aa, bb, ab = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    small, less = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return (2 * mean_a * mean_b + small) / (mean_a**2 + mean_b**2 + small), (2 * ab + less) / (aa + bb + less)


def _blurred(images: Tensor) -> Tensor:
    """Sums under the window, (..., H - 10, W - 10): many times as fast as a convolution of PyTorch in float64."""
    weights = np.exp(-np.square(np.arange(-EDGE, EDGE + 1)) / (2 * 1.5**2))
    for side in (-1, -2):
        size = images.shape[side] - 2 * EDGE
        total = torch.zeros_like(images.narrow(side, 0, size))
        for place, weight in enumerate(weights / weights.sum()):
            total.add_(images.narrow(side, place, size), alpha=float(weight))
        images = total
    return images


def ms_ssim(fake: Tensor, truth: Tensor) -> np.ndarray:
    """SSIM over five scales, each half of the last, 0..1 (Wang et al. 2003): contrast of all, luminance of the last.

    Terms are means over channels, and as in `ssim` over places where the window lies within the image; a negative term
    counts as 0. EvaluationError for images of less than 176 pixels on a side: their last scale has no room for it.
    """
    _check_size(fake, LEAST_MS, "MS-SSIM")
    return _each(fake, truth, _ms_ssim)


def _ms_ssim(a: Tensor, b: Tensor) -> float:
    product = 1.0
    for power in SCALES[:-1]:
        product *= max(0.0, float(_similarity(a, b)[1].mean())) ** power
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return product * max(0.0, _ssim(a, b)) ** SCALES[-1]


def luma(images: Tensor) -> Tensor:
    """Y of ITU-R BT.601 within 16..235, not rounded, (..., 1, H, W) in float64: as MATLAB's rgb2ycbcr of real numbers.

    Grey counts as equal R, G and B. EvaluationError for images (..., C, H, W) of neither one nor three channels.
    """
    _check_channels(images, (1, 3))
    weights = torch.tensor(LIGHT, dtype=torch.float64, device=images.device)[:, None, None]
    return 16 + (images.double() * weights).sum(-3, keepdim=True) / 255


def psnr_y(fake: Tensor, truth: Tensor, border: int) -> np.ndarray:
    """`psnr` of `luma` without `border` pixels at each edge, as papers on super-resolution by that factor report it.

    The peak stays 255. EvaluationError if the border leaves nothing.
    """
    _check_size(fake, 2 * border + 1, f"PSNR without {border} pixels at each edge")
    return _each(fake, truth, lambda a, b: _psnr(_inner(luma(a), border), _inner(luma(b), border)))


def ssim_y(fake: Tensor, truth: Tensor, border: int) -> np.ndarray:
    """`ssim` of `luma` without `border` pixels at each edge. EvaluationError if that leaves less than 11 pixels."""
    _check_size(fake, 2 * (border + EDGE) + 1, f"SSIM without {border} pixels at each edge")
    return _each(fake, truth, lambda a, b: _ssim(_inner(luma(a), border), _inner(luma(b), border)))


def _inner(image: Tensor, border: int) -> Tensor:
    height, width = image.shape[-2:]
    return image[..., border : height - border, border : width - border]


def lab(images: Tensor) -> Tensor:
    """CIE L, a and b of sRGB images (..., 3, H, W), in float64: L within 0..100 (IEC 61966-2-1, CIE 15).

    White is that of sRGB, D65, so grey has a = b = 0.
    """
    _check_channels(images, (3,))
    level = torch.arange(256, dtype=torch.float64) / 255
    linear = torch.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).to(images.device)
    matrix = torch.tensor(XYZ, dtype=torch.float64, device=images.device)
    xyz = torch.einsum("ij,...jhw->...ihw", matrix / matrix.sum(1, keepdim=True), linear[images.int()])
    x, y, z = torch.where(xyz > (6 / 29) ** 3, xyz ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29).unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -3)


def lab_histograms(images: Tensor) -> np.ndarray:
    """Pixels of each image by L, a and b: int64 (N, 3, 111), the middles of bins being -110, -108 .. 110."""
    _check_kind(images)
    places = 2 * REACH + 1
    made = np.zeros((len(images), 3, places), np.int64)
    for row, image in zip(made, images, strict=True):
        bins = (lab(image) / STEP).round().int().clamp(-REACH, REACH) + REACH
        for channel in range(3):
            row[channel] = torch.bincount(bins[channel].flatten(), minlength=places).cpu().numpy()
    return made


def intersection(fakes: np.ndarray, reals: np.ndarray) -> dict[str, float]:
    """How far the colours of two sets of any sizes agree: the sum over bins of the smaller share, 0..1, by L, a and b.

    As Isola et al. (2017) compare translations in section 4.2. They do not say how wide their bins are; ours, of 2, are
    our choice, and wider ones give higher values: do not hold these against the numbers of that paper.
    Sets are given by their `lab_histograms`. EvaluationError if there are no images.
    """
    if not fakes.sum() or not reals.sum():
        raise EvaluationError("there are no images to take colours of")
    p, q = (side.sum(0) / side.sum((0, 2))[:, None] for side in (fakes, reals))
    return dict(zip("Lab", map(float, np.minimum(p, q).sum(1)), strict=True))


def identity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosine of the angle between the features (N, D) that any embedder gives to two pictures of a person, -1..1.

    EvaluationError if the shapes differ, or if features are all 0 and so have no direction.
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if one.shape != other.shape or one.ndim != 2:
        raise EvaluationError(f"features of {one.shape} and {other.shape} are no pairs (images, dimensions)")
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    if not lengths.all():
        raise EvaluationError(f"the features of image {np.flatnonzero(lengths == 0)[0]} are all 0")
    return np.sum(one * other, axis=1) / lengths


def _each(fake: Tensor, truth: Tensor, measure: Measure) -> np.ndarray:
    """`measure` of one pair after the other, so that a set takes no more memory than its bytes."""
    _check_kind(fake)
    _check_kind(truth)
    if fake.shape != truth.shape:
        raise EvaluationError(f"{_size(fake)} cannot be compared with {_size(truth)}; they are to be pairs")
    return np.array([measure(a.double(), b.double()) for a, b in zip(fake, truth, strict=True)], np.float64)


def _size(images: Tensor) -> str:
    count, channels, height, width = images.shape
    return f"{count} images of {width} x {height} with {channels} channels"


def _check_kind(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise EvaluationError(f"images are to be uint8 (N, C, H, W), not {images.dtype} {tuple(images.shape)}")


def _check_size(images: Tensor, least: int, name: str) -> None:
    _check_kind(images)
    if min(images.shape[2:]) < least:
        raise EvaluationError(f"{name} needs at least {least} pixels on a side, and there are {_size(images)}")


def _check_channels(images: Tensor, allowed: tuple[int, ...]) -> None:
    if images.shape[-3] not in allowed:
        raise EvaluationError(f"images of {images.shape[-3]} channels have no such colours; {allowed} have")
