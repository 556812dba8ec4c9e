"""How the pixel values of one domain become network values in [-1, 1], and back."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.data.images import image_io
from diptych.data.images.class_maps import ids_of
from diptych.errors import ImageError

DEEP_INTEGERS = ("uint16", "int16", "int32")  # the same values in any of them


@dataclass(frozen=True)
class Encoding:
    """The meaning of stored pixel values. By default black is -1 and white is 1, without alpha.

    `value_range` are the stored values that become -1 and 1, in files of `dtype` (uint8, uint16, int16, int32 or
    float32); they may be negative and fractional, and values outside are clipped. With
    `num_classes` the values are class ids, encoded one-hot. With `alpha` the channels are red, green, blue, alpha.
    """

    value_range: tuple[float, float] | None = None
    dtype: str = ""  # of the files, with a `value_range`
    num_classes: int | None = None
    alpha: bool = False

    @property
    def kind(self) -> image_io.Kind:
        """How to read files: colours composited over white, RGBA, class ids, or stored values."""
        if self.num_classes:
            return "ids"
        return "rgba" if self.alpha else "values" if self.value_range else "colour"

    @property
    def channels(self) -> int | None:
        """The number of channels, if the encoding determines it; None if the files do."""
        return self.num_classes or (4 if self.alpha else None)

    @property
    def stored_dtype(self) -> np.dtype[Any] | None:
        """The dtype that `encode` returns; None if it is free."""
        if self.num_classes:
            return np.dtype(np.uint8)
        return np.dtype(self.dtype) if self.value_range else None

    def __str__(self) -> str:
        """Return a description; empty for the default encoding."""
        if self.num_classes:
            return f"class ids of {self.num_classes} classes, one channel per class"
        if self.alpha:
            return "four channels, the last one is alpha"
        if self.value_range:
            low, high = self.value_range
            return f"pixel values {low:g} to {high:g} are mapped to -1 and 1"
        return ""

    def decode(self, array: np.ndarray, path: object) -> np.ndarray:
        """Return the array to resize and crop, from that of `image_io.read(path, self.kind)`.

        The result is class ids (int32), float32 in [0, 1] for a `value_range`, else `array` itself. Raises ImageError
        for colours where class ids are expected, and for a dtype other than that of the `value_range`: only integers
        of 16 and 32 bits may replace each other.
        """
        if self.num_classes:
            return ids_of(array, path)
        if self.value_range is None:
            return array
        if array.dtype.name != self.dtype and not {array.dtype.name, self.dtype} <= {*DEEP_INTEGERS}:
            low, high = self.value_range
            raise ImageError(
                f"{path}: expected {self.dtype} values for the range {low:g} to {high:g}, got {array.dtype}: convert "
                f"it, or train with range=full"
            )
        low, high = self.value_range
        unit = (array.astype(np.float64) - low) / (high - low)
        return np.clip(unit, 0, 1).astype(np.float32)

    def encode(self, x: np.ndarray, dtype: Any) -> np.ndarray:
        """Return network values (H, W, C) in [-1, 1] as pixels: the inverse of `decode` and `image_io.to_unit`.

        Class ids are uint8 (H, W, 1), values of a `value_range` have its dtype, all others have `dtype`.
        """
        if self.num_classes:
            return x.argmax(-1)[..., None].astype(np.uint8)
        if self.value_range is None:
            return image_io.from_unit(x, dtype)
        low, high = self.value_range
        unit = (np.clip(x.astype(np.float64), -1, 1) + 1) / 2
        values = low + unit * (high - low)
        return (values if self.dtype == "float32" else np.rint(values)).astype(self.dtype)


PLAIN = Encoding()
