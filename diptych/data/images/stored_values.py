"""The dtypes of images in memory, and the values that files store: 8 and 16 bits, signed integers and floats.

Without a declared value range pixels are uint8, uint16, or float32 in [0, 1], whose black and white are known. With one
(`Kind` "values") they are the stored values: also int16, int32, and float32 of any finite value.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from diptych.data.config import LARGEST
from diptych.data.images.alpha import Kind

# dtype in memory, by that of the file
DTYPES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("bool", "uint8"), "uint8"),
        "uint16": "uint16",
        **dict.fromkeys(("int8", "int16"), "int16"),
        **dict.fromkeys(("int32", "uint32", "int64", "uint64"), "int32"),
        **dict.fromkeys(("float16", "float32", "float64"), "float32"),
    }
)
WITH_RANGE = ("int16", "int32")  # dtypes without black and white
DECLARE = "train with range=[LOW,HIGH] or range=auto, which says what the values mean"


class InvalidImageError(Exception):
    """An image that cannot be used: problem and remedy. `stored_file.image_errors` adds the name of the file."""


def memory_dtype(stored: np.dtype[Any], kind: Kind = "colour") -> np.dtype[Any]:
    """Return the dtype in memory of samples of dtype `stored`. Raises InvalidImageError if `kind` does not have it."""
    name = DTYPES.get(stored.newbyteorder("=").name)
    if name is None:
        raise InvalidImageError(f"has dtype {stored.name}; save it as uint8, uint16, int16, int32 or float32")
    if name in WITH_RANGE and kind in ("colour", "rgba"):
        raise InvalidImageError(
            f"has dtype {stored.name}, which has no black and white; {DECLARE}, or save it as uint8 or uint16"
        )
    return np.dtype(name)


def in_memory(values: np.ndarray, kind: Kind = "colour") -> np.ndarray:
    """Return stored samples in the dtype of `memory_dtype`; true is 255. Raises InvalidImageError for other values.

    Floats are finite, and within 0..1 unless `kind` is "values"; integers of more than 32 bits fit into int32.
    """
    dtype = memory_dtype(values.dtype, kind)
    if values.dtype.kind == "b":
        return np.ascontiguousarray(np.where(values, np.uint8(255), np.uint8(0)))
    if dtype.kind == "f":
        return finite_floats(values) if kind == "values" else unit_floats(values)
    low, high = limits_of(dtype)
    if not np.can_cast(values.dtype, dtype) and not (values.min() >= low and values.max() <= high):
        raise InvalidImageError(f"has values outside {low:.0f}..{high:.0f}; save it as int32 or float32")
    return np.ascontiguousarray(values, dtype)


def unit_floats(values: np.ndarray) -> np.ndarray:
    """Return floats as float32. Raises InvalidImageError if one is outside 0..1 or not finite."""
    if not (values.min() >= 0 and values.max() <= 1):  # NaN fails this too
        finite_floats(values)
        raise InvalidImageError(f"has values outside 0..1; {DECLARE}, or rescale it to 0..1 and save it again")
    return np.ascontiguousarray(values, np.float32)


def finite_floats(values: np.ndarray) -> np.ndarray:
    """Return floats as float32. Raises InvalidImageError if one is not finite."""
    with np.errstate(over="ignore"):  # a float64 that float32 does not have becomes infinite
        floats = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(floats).all():
        raise InvalidImageError("has values that are not finite (NaN or infinite); replace them and save it again")
    return floats


def limits_of(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the lowest and highest limit of a value range of this dtype."""
    if dtype.kind == "f":
        return -LARGEST, LARGEST
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def lowest_value(dtype: np.dtype[Any], kind: Kind = "colour") -> Any:
    """Return the value of pixels without data: 0, which is black, or the least of the dtype with a declared range."""
    if kind != "values":
        return dtype.type(0)
    if dtype.kind == "f":
        return dtype.type(max(float(np.finfo(dtype).min), float(np.finfo(np.float32).min)))
    return dtype.type(np.iinfo(dtype).min)
