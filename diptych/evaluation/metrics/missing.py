"""Metrics of missing pixels: of translations and ground truths, uint8 (N, C, H, W), where `missing` (N, H, W) is true.

Values are float64 arrays (N,). EvaluationError if an image misses no pixels.
"""

import numpy as np
import torch
from torch import Tensor

from diptych.errors import EvaluationError
from diptych.evaluation.metrics.paired import EDGE, MAX_PSNR, ssim_map

RADIUS = 3  # of the neighbourhood of OpenCV's inpainting, in pixels


def l1(fake: Tensor, truth: Tensor, missing: Tensor) -> np.ndarray:
    """Return the mean absolute error of missing pixels in [-1, 1], so 0..2."""
    return _means((fake.double() - truth.double()).abs().mean(1) / 127.5, missing)


def psnr(fake: Tensor, truth: Tensor, missing: Tensor) -> np.ndarray:
    """Return the PSNR over missing pixels and all channels, in dB; at most 100, the value of equal pixels."""
    errors = _means((fake.double() - truth.double()).square().mean(1), missing)
    return np.array([min(MAX_PSNR, 10 * np.log10(255**2 / error)) if error else MAX_PSNR for error in errors])


def ssim(fake: Tensor, truth: Tensor, missing: Tensor) -> np.ndarray:
    """Return the mean SSIM of the windows of `paired.ssim` whose centre is missing."""
    inner = missing[:, EDGE:-EDGE, EDGE:-EDGE]
    maps = [ssim_map(a.double(), b.double()).mean(0) for a, b in zip(fake, truth, strict=True)]
    return _means(torch.stack(maps), inner)


def _means(values: Tensor, missing: Tensor) -> np.ndarray:
    """Return the mean of values (N, H, W) where pixels are missing."""
    counts = missing.sum((1, 2))
    if not counts.all():
        raise EvaluationError("an image misses no pixels that a metric could look at")
    return ((values * missing).sum((1, 2)) / counts).numpy()


def diffused(truth: Tensor, missing: Tensor) -> Tensor | None:
    """Return the ground truths with missing pixels filled from their neighbours; None without OpenCV.

    It is the fast marching method (Telea 2004) of `cv2.inpaint`.
    """
    try:
        import cv2
    except ImportError:
        return None
    filled = []
    for image, mask in zip(truth, missing, strict=True):
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        made = cv2.inpaint(pixels, mask.numpy().astype(np.uint8), RADIUS, cv2.INPAINT_TELEA)
        filled.append(torch.from_numpy(made.reshape(pixels.shape)).permute(2, 0, 1))
    return torch.stack(filled)
