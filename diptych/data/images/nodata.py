"""Pixels without data: the nodata value of a GeoTIFF, a mask of valid pixels, and nodata in an output."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from diptych.data.images.alpha import Kind
from diptych.data.images.stored_values import lowest_value

TAG = 42113  # GDAL_NODATA


def nodata_of(tags: Mapping[int, Any]) -> float | None:
    """Return the nodata value in the tags of a TIFF; None if it has none."""
    with suppress(TypeError, ValueError):
        return float(str(tags.get(TAG)).strip("\0 "))
    return None


def is_nodata(pixels: np.ndarray, nodata: float) -> np.ndarray:
    """Return a mask without the last axis: whether all channels of a pixel are the nodata value, which may be NaN."""
    value = pixels.dtype.type(nodata) if pixels.dtype.kind == "f" else nodata
    equal: np.ndarray = np.isnan(pixels) if np.isnan(nodata) else pixels == value
    return np.asarray(equal.all(axis=-1))


def without_nodata(samples: np.ndarray, nodata: float | None, kind: Kind) -> np.ndarray:
    """Return stored samples (H, W, C) with `lowest_value` in place of nodata. Class ids are left as they are."""
    if nodata is None or kind == "ids":
        return samples
    return np.where(is_nodata(samples, nodata)[..., None], lowest_value(samples.dtype, kind), samples)


def avoid_nodata(pixels: np.ndarray, nodata: float) -> np.ndarray:
    """Return pixels in which those that equal nodata in all channels have the next value, as `gdalwarp` does."""
    equal = is_nodata(pixels, nodata)[..., None]
    if pixels.dtype.kind == "f":
        return np.where(equal, np.nextafter(np.asarray(nodata, pixels.dtype), pixels.dtype.type(0.5)), pixels)
    value = nodata + 1 if nodata < np.iinfo(pixels.dtype).max else nodata - 1
    return np.where(equal, np.asarray(value, pixels.dtype), pixels)


def with_nodata(pixels: np.ndarray, valid: np.ndarray, nodata: float) -> np.ndarray:
    """Return an image (H, W, C) with nodata where `valid` (H', W'), at the nearest pixel, is false, and only there."""
    rows, columns = (
        np.minimum(((np.arange(side) + 0.5) * (stored / side)).astype(int), stored - 1)
        for side, stored in zip(pixels.shape[:2], valid.shape, strict=True)
    )
    is_valid = valid[rows[:, None], columns][..., None]
    return np.where(is_valid, avoid_nodata(pixels, nodata), np.asarray(nodata, pixels.dtype))


def nodata_for(nodata: float | None, dtype: np.dtype[Any]) -> float | None:
    """Return the value of the dtype that is nearest to a nodata value; 0 for NaN if it has none."""
    if nodata is None or dtype.kind == "f":
        return nodata if nodata is None else float(np.asarray(nodata, dtype))
    limits = np.iinfo(dtype)
    return float(np.clip(np.rint(np.nan_to_num(nodata, nan=0.0)), limits.min, limits.max))
