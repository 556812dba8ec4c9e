"""Label maps: images of one channel whose values are class ids, and their one-hot channels.

In memory class ids are int32 arrays (H, W, 1). The dtype marks values that must not be interpolated: `image_io.resize`
uses the nearest pixel for it, and `image_io.with_channels` gives one-hot channels.
"""

from collections.abc import Collection

import numpy as np

from diptych.errors import ImageError

IDS = np.dtype(np.int32)
IGNORED = 255  # the usual id of unlabelled pixels (Cityscapes, PASCAL VOC)
MAX_CLASSES = 256


def ids_of(array: np.ndarray, path: object) -> np.ndarray:
    """Return the class ids (H, W, 1) of an image (H, W, C) of integers whose channels are equal. Raises ImageError."""
    if array.dtype.kind == "f":
        raise ImageError(f"{path}: holds {array.dtype} values, and class ids are integers: save it with 8 or 16 bits")
    if (array != array[..., :1]).any():
        raise ImageError(
            f"{path}: is a colour image, and a label map of class ids has one channel or a palette: "
            f"train without label_map to learn from its colours"
        )
    return array[..., :1].astype(IDS)


def one_hot(ids: np.ndarray, num_classes: int, path: object) -> np.ndarray:
    """Return one-hot planes (H, W, num_classes) of uint8: 255 where a pixel of `ids` (H, W, 1) has that class, else 0.

    For id 255 with fewer classes all planes are 0. Raises ImageError for an id without a class.
    """
    unknown = (ids < 0) | ((ids >= num_classes) & (ids != IGNORED))
    if unknown.any():
        raise ImageError(
            f"{path}: holds class id {ids[unknown].flat[0]}, and there are {num_classes} classes (0 to "
            f"{num_classes - 1}; {IGNORED} is not a class)"
        )
    return np.where(ids == np.arange(num_classes, dtype=IDS), np.uint8(255), np.uint8(0))


def count_classes(ids: Collection[int]) -> int:
    """Return the number of classes: the largest id plus 1, where 255 far above all others is not a class.

    Raises ImageError for a single class, or for more than 256.
    """
    known = sorted(set(ids))
    if len(known) > 1 and known[-1] == IGNORED and known[-2] < IGNORED - 1:
        known = known[:-1]
    if known[-1] >= MAX_CLASSES:
        raise ImageError(f"class id {known[-1]}: at most {MAX_CLASSES} classes are supported, with ids from 0")
    if known[-1] == 0:
        others = f" beside {IGNORED}, which is not a class" if IGNORED in ids else ""
        raise ImageError(f"class id 0 alone{others}: train without label_map to learn from the values")
    return known[-1] + 1


def class_colours(num_classes: int) -> np.ndarray:
    """Return the colour map of PASCAL VOC, uint8 (num_classes, 3); class 0 is black.

    The bits of the id are, in turns, bits 7, 6, 5 ... of red, green and blue.
    """
    ids, colours = np.arange(num_classes), np.zeros((num_classes, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((ids >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.astype(np.uint8)
