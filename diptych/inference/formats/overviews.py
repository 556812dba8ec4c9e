"""Reduced levels of an image: each has half the pixels of the one before to either side, as means of 2x2 pixels."""

from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images.nodata import avoid_nodata, is_nodata
from diptych.inference.formats.pixel_file import PixelFile, create_npy
from diptych.inference.large_images import blocks

SMALLEST = 256  # pixels: no level is made of an image whose sides are not above it
BLOCK = 512  # pixels of a block of a level; a multiple of it needs four times its memory of the level before


def create_levels(pixels: PixelFile, folder: Path, nodata: float | None, smallest: int = SMALLEST) -> list[PixelFile]:
    """Return `pixels` and its reduced levels, stored in `folder`. Pixels of `nodata` do not count in the means."""
    levels = [pixels]
    while max(levels[-1].height, levels[-1].width) > smallest:
        larger = levels[-1]
        shape = (-(-larger.height // 2), -(-larger.width // 2), larger.channels)
        level = create_npy(folder / f"level{len(levels)}.npy", shape, larger.dtype)
        for window in blocks(level.height, level.width, BLOCK):
            source = window._replace(
                top=2 * window.top,
                left=2 * window.left,
                height=min(2 * window.height, larger.height - 2 * window.top),
                width=min(2 * window.width, larger.width - 2 * window.left),
            )
            level.write(window.top, window.left, halve(larger.read(source), nodata))
        levels.append(level)
    return levels


def halve(pixels: np.ndarray, nodata: float | None = None) -> np.ndarray:
    """Return the means of 2x2 pixels (H, W, C), rounded; a last odd row or column counts twice.

    A pixel is nodata if all its channels are. The mean of pixels of which some are nodata is that of the others.
    """
    padded = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), "edge")
    quarters = np.stack([padded[row::2, column::2] for row in (0, 1) for column in (0, 1)])
    if nodata is None:
        return _rounded(quarters.mean(axis=0, dtype=np.float32), pixels.dtype)
    is_valid = ~is_nodata(quarters, nodata)[..., None]
    count = is_valid.sum(axis=0)
    total = np.where(is_valid, quarters, 0).sum(axis=0, dtype=np.float32)
    means = _rounded(total / np.maximum(count, 1), pixels.dtype)
    return np.where(count > 0, avoid_nodata(means, nodata), np.asarray(nodata, pixels.dtype))


def _rounded(means: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    return np.asarray(means if dtype.kind == "f" else np.rint(means), dtype)
