"""Convert samples with alpha: composited over white, to RGBA, or with alpha dropped."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, BinaryIO, Literal

import numpy as np

# How to read an image: colours composited over white, RGBA, class ids, or the stored values of a declared range.
Kind = Literal["colour", "rgba", "ids", "values"]

WHITE: Mapping[np.dtype[Any], int] = MappingProxyType(
    {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 1}
)


def convert_alpha(samples: np.ndarray, kind: Kind) -> np.ndarray:
    """Return samples (H, W, 1 to 4) as `kind` requires. With 2 or 4 channels, the last one is alpha."""
    if kind == "rgba":
        return with_alpha(samples)
    if samples.shape[2] in (1, 3):
        return samples
    return samples[..., :-1] if kind == "ids" else over_white(samples)


def transparent_pixels(samples: np.ndarray, key: int | tuple[int, ...], file: BinaryIO) -> np.ndarray:
    """Return a mask (H, W, 1) of the pixels of a grey or RGB PNG that have its transparent colour, `key`."""
    file.seek(24)
    max_sample, white = 2 ** file.read(1)[0] - 1, white_of(samples.dtype)
    # Pillow scales samples of 1, 2 and 4 bits to 0..255, but not the key.
    is_transparent = samples == (np.atleast_1d(key) & max_sample) * (white // max_sample)
    return np.asarray(is_transparent.all(axis=2, keepdims=True))


def key_to_white(samples: np.ndarray, transparent: np.ndarray) -> np.ndarray:
    """Return the samples with white in place of transparent pixels."""
    return np.where(transparent, samples.dtype.type(white_of(samples.dtype)), samples)


def key_to_alpha(samples: np.ndarray, transparent: np.ndarray) -> np.ndarray:
    """Return the samples with an alpha channel that is 0 for transparent pixels."""
    alpha = np.where(transparent, samples.dtype.type(0), samples.dtype.type(white_of(samples.dtype)))
    return np.concatenate([samples, alpha], axis=2)


def with_alpha(samples: np.ndarray) -> np.ndarray:
    """Return grey or RGB samples (H, W, 1 to 4) as RGBA; opaque if they have no alpha (1 or 3 channels)."""
    has_alpha = samples.shape[2] in (2, 4)
    num_colours = samples.shape[2] - has_alpha
    opaque = np.full_like(samples[..., :1], white_of(samples.dtype))
    alpha = samples[..., -1:] if has_alpha else opaque
    return np.concatenate([np.repeat(samples[..., :num_colours], 3 // num_colours, axis=2), alpha], axis=2)


def over_white(samples: np.ndarray) -> np.ndarray:
    """Composite (H, W, C + 1), whose last channel is alpha, over white: (H, W, C), rounded to nearest."""
    white = np.uint32(white_of(samples.dtype))
    colour, alpha = samples[..., :-1].astype(np.uint32), samples[..., -1:].astype(np.uint32)
    mixed: np.ndarray = (colour * alpha + white * (white - alpha) + white // 2) // white
    return mixed.astype(samples.dtype)


def white_of(dtype: np.dtype[Any]) -> int:
    """Return the pixel value of white: 255, 65535, or 1 for float32. Raises ValueError for other dtypes."""
    if dtype not in WHITE:
        raise ValueError(f"pixels are uint8, uint16 or float32, not {dtype}")
    return WHITE[dtype]
