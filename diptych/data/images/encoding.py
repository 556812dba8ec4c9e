"""How the pixel values of one domain become network values in [-1, 1], and back."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.data.images import image_io
from diptych.data.images.class_maps import ids_of
from diptych.errors import ImageError


@dataclass(frozen=True)
class Encoding:
    """What the values of stored pixels mean. By default black to white of the dtype is -1 to 1, without alpha.

    `value_range` are the stored values that become -1 and 1, in files of `dtype`; values outside are clipped. With
    `num_classes` the values are class ids, each class a channel. With `alpha` the channels are red, green, blue, alpha.
    """

    value_range: tuple[float, float] | None = None
    dtype: str = ""  # of files with a `value_range`
    num_classes: int | None = None
    alpha: bool = False

    @property
    def kind(self) -> image_io.Kind:
        """What to read from a file: colours over white, with alpha, or class ids."""
        return "ids" if self.num_classes else "rgba" if self.alpha else "colour"

    @property
    def channels(self) -> int | None:
        """Channels of a network that it makes of any image; None where those of the files count."""
        return self.num_classes or (4 if self.alpha else None)

    @property
    def stored_dtype(self) -> np.dtype[Any] | None:
        """The only dtype in which `encode` stores values; None if any will do."""
        if self.num_classes:
            return np.dtype(np.uint8)
        return np.dtype(self.dtype) if self.value_range else None

    def __str__(self) -> str:
        """In words; nothing for images that are read as usual."""
        if self.num_classes:
            return f"class ids of {self.num_classes} classes, a channel for each"
        if self.alpha:
            return "four channels, the last is alpha"
        return "values {:g} to {:g} are used as the whole range".format(*self.value_range) if self.value_range else ""

    def decode(self, array: np.ndarray, path: object) -> np.ndarray:
        """Turn what `image.read(path, self.kind)` gave into the array that is resized and cropped.

        That is class ids (int32), float32 within 0..1 for a `value_range`, else `array` itself. Raises ImageError for
        colours where ids are expected, and for files of another dtype than the `value_range` is of.
        """
        if self.num_classes:
            return ids_of(array, path)
        if self.value_range is None:
            return array
        if array.dtype != np.dtype(self.dtype):
            low, high = self.value_range
            raise ImageError(
                f"{path}: holds {array.dtype} values, and the range in use, {low:g} to {high:g}, is of {self.dtype}: "
                f"convert it, or train with range=full"
            )
        low, high = self.value_range
        unit = (array.astype(np.float64) - low) / (high - low)
        return np.clip(unit, 0, 1).astype(np.float32)

    def encode(self, x: np.ndarray, dtype: Any) -> np.ndarray:
        """Turn network values (H, W, C) in [-1, 1] into pixels to store, the inverse of `decode` and `image.to_unit`.

        Class ids come as uint8 (H, W, 1), values of a `value_range` in its dtype, all others in `dtype`.
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
