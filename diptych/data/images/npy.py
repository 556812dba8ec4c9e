"""Read NumPy arrays, .npy files of one image (H, W) or (H, W, C), without pickle."""

import math
from typing import Any, BinaryIO

import numpy as np

from diptych.data.images.alpha import Kind, with_alpha
from diptych.data.images.stored_file import MAX_PIXELS, check_size, read_values, remaining_bytes
from diptych.data.images.stored_values import InvalidImageError, in_memory, memory_dtype


def npy_header(file: BinaryIO, kind: Kind = "colour") -> tuple[tuple[int, int, int], np.dtype[Any], bool]:
    """Return (H, W, C), the stored dtype and whether the order is Fortran's; leaves `file` at the first value."""
    layouts = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, by_columns, dtype = layouts[np.lib.format.read_magic(file)](file)
    memory_dtype(dtype, kind)
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise InvalidImageError(f"has the shape {shape}; save it as (H, W) or (H, W, C), none of them zero")
    check_size(math.prod(shape), 4 * MAX_PIXELS)
    if remaining_bytes(file) < math.prod(shape) * dtype.itemsize:
        raise InvalidImageError("is cut short: it holds fewer values than its header says; copy or save it again")
    return (shape[0], shape[1], shape[2] if len(shape) == 3 else 1), dtype, by_columns


def read_npy(file: BinaryIO, kind: Kind = "colour") -> np.ndarray:
    """Return the array (H, W, C) of an .npy file, as `image_io.read` describes it."""
    shape, dtype, by_columns = npy_header(file, kind)
    stored = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    values = read_values(file, stored, math.prod(shape)).reshape(shape, order="F" if by_columns else "C")
    pixels = in_memory(values.astype(bool) if dtype.kind == "b" else values, kind)
    if kind != "rgba":
        return pixels
    if pixels.shape[2] not in (1, 3, 4):
        raise InvalidImageError(f"has {pixels.shape[2]} channels; with alpha=keep, arrays have 1, 3 or 4")
    return with_alpha(pixels)
