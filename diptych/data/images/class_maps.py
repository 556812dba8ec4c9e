"""Label maps of class ids: images of one channel whose values name classes, and the channels that networks see.

Class ids are int32 arrays (H, W, 1) wherever they are in memory: that dtype alone says that values must not be mixed,
so `image.resize` takes the nearest pixel and `image.with_channels` makes one channel of each class.
"""

from collections.abc import Collection

import numpy as np

from diptych.errors import ImageError

IDS = np.dtype(np.int32)
IGNORED = 255  # usual id of pixels without a class (Cityscapes, PASCAL VOC)
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
    """Return uint8 planes (H, W, num_classes), 255 where a pixel (H, W, 1) is of that class, else 0.

    All planes are 0 where the id is 255 and there are fewer classes. Raises ImageError for an id without a class.
    """
    unknown = (ids < 0) | ((ids >= num_classes) & (ids != IGNORED))
    if unknown.any():
        raise ImageError(
            f"{path}: holds class id {ids[unknown].flat[0]}, and there are {num_classes} classes (0 to "
            f"{num_classes - 1}; {IGNORED} is no class)"
        )
    return np.where(ids == np.arange(num_classes, dtype=IDS), np.uint8(255), np.uint8(0))


def count_classes(ids: Collection[int]) -> int:
    """Return the number of classes: the largest id plus 1, where 255 far above all others is no class.

    Raises ImageError if there is one class only, or more than 256.
    """
    known = sorted(set(ids))
    if len(known) > 1 and known[-1] == IGNORED and known[-2] < IGNORED - 1:
        known = known[:-1]
    if known[-1] >= MAX_CLASSES:
        raise ImageError(f"class id {known[-1]}: at most {MAX_CLASSES} classes are supported, with ids from 0")
    if known[-1] == 0:
        others = f" beside {IGNORED}, which is no class" if IGNORED in ids else ""
        raise ImageError(f"class id 0 alone{others}: train without label_map to learn from the values")
    return known[-1] + 1


def class_colours(num_classes: int) -> np.ndarray:
    """Return a colour for each class, uint8 (num_classes, 3): the colour map of PASCAL VOC, whose first is black.

    Bit i of the id is, in turns, bit 7, 6, 5 ... of red, green and blue.
    """
    ids, colours = np.arange(num_classes), np.zeros((num_classes, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((ids >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.astype(np.uint8)
