"""Samples with alpha as colours over white, as RGBA, or without it."""

from typing import Any, BinaryIO, Literal

import numpy as np

Kind = Literal["colour", "rgba", "ids"]  # what to read: colours over white, with alpha as the fourth channel, class ids


def convert_alpha(samples: np.ndarray, kind: Kind) -> np.ndarray:
    """Samples (H, W, 1 to 4), of which the last is alpha where they are 2 or 4, as `kind` says."""
    if kind == "rgba":
        return with_alpha(samples)
    if samples.shape[2] in (1, 3):
        return samples
    return over_white(samples) if kind == "colour" else samples[..., :-1]


def transparent_pixels(samples: np.ndarray, key: int | tuple[int, ...], file: BinaryIO) -> np.ndarray:
    """Where (H, W, 1) a grey or RGB PNG has the colour that it names as transparent."""
    file.seek(24)
    most, white = 2 ** file.read(1)[0] - 1, white_of(samples.dtype)
    # Pillow scales samples of 1, 2 and 4 bits to 0..255, but not the key.
    clear = samples == (np.atleast_1d(key) & most) * (white // most)
    return np.asarray(clear.all(axis=2, keepdims=True))


def key_to_white(samples: np.ndarray, clear: np.ndarray) -> np.ndarray:
    return np.where(clear, samples.dtype.type(white_of(samples.dtype)), samples)


def key_to_alpha(samples: np.ndarray, clear: np.ndarray) -> np.ndarray:
    alpha = np.where(clear, samples.dtype.type(0), samples.dtype.type(white_of(samples.dtype)))
    return np.concatenate([samples, alpha], axis=2)


def with_alpha(samples: np.ndarray) -> np.ndarray:
    """Grey or RGB (H, W, 1 to 4), of which the last is alpha where they are 2 or 4, as RGBA; opaque without alpha."""
    has_alpha = samples.shape[2] in (2, 4)
    colours = samples.shape[2] - has_alpha
    opaque = np.full_like(samples[..., :1], white_of(samples.dtype))
    alpha = samples[..., -1:] if has_alpha else opaque
    return np.concatenate([np.repeat(samples[..., :colours], 3 // colours, axis=2), alpha], axis=2)


def over_white(samples: np.ndarray) -> np.ndarray:
    """(H, W, C + 1), the last is alpha -> (H, W, C) over white, rounded to nearest."""
    white = np.uint32(white_of(samples.dtype))
    colour, alpha = samples[..., :-1].astype(np.uint32), samples[..., -1:].astype(np.uint32)
    mixed: np.ndarray = (colour * alpha + white * (white - alpha) + white // 2) // white
    return mixed.astype(samples.dtype)


def white_of(dtype: np.dtype[Any]) -> int:
    if dtype not in (np.uint8, np.uint16, np.float32):
        raise ValueError(f"pixels are uint8, uint16 or float32, not {dtype}")
    return 1 if dtype == np.float32 else int(np.iinfo(dtype).max)
