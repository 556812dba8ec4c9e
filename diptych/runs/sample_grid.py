"""Sample grids: images of all kinds made visible, and drawn side by side. Nothing here imports torch."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from diptych.data.images import image_io
from diptych.data.images.class_maps import class_colours
from diptych.data.images.encoding import Encoding

GAP = 4  # white pixels between images


def viewable(x: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Return images (N, C, H, W) in [-1, 1] as grey or RGB: label maps in colours, images with alpha on white.

    The class of a pixel is the channel with the largest value; pixels without a channel above -1 are black.
    """
    if encoding.num_classes:
        colours = class_colours(encoding.num_classes).astype(x.dtype) / 127.5 - 1
        has_class = (x.max(1) > -1)[..., None]
        return np.where(has_class, colours[x.argmax(1)], x.dtype.type(-1)).transpose(0, 3, 1, 2)
    if encoding.alpha:
        alpha = (x[:, 3:] + 1) / 2
        return np.asarray(x[:, :3] * alpha + 1 - alpha)
    return x


def grid(columns: Sequence[np.ndarray]) -> Image.Image:
    """Return an image of columns of images, each (N, C, H, W) in [-1, 1], with a row per sample.

    Smaller images are enlarged to the largest height with a bicubic filter.
    """
    height = max(column.shape[-2] for column in columns)
    rows = [
        np.concatenate([_tile(column[row], height) for column in columns], 1) for row in range(min(map(len, columns)))
    ]
    return Image.fromarray(np.concatenate(rows)[:-GAP, :-GAP])


def stack_vertically(top: Image.Image, bottom: Image.Image) -> Image.Image:
    """Return an image with one image above the other, on white."""
    image = Image.new("RGB", (max(top.width, bottom.width), top.height + GAP + bottom.height), "white")
    image.paste(top, (0, 0))
    image.paste(bottom, (0, top.height + GAP))
    return image


def _tile(image: np.ndarray, height: int) -> np.ndarray:
    """Return an image (C, H, W) in [-1, 1] as RGB uint8 with a white gap; only the first of 2, 4 or more channels."""
    rgb = image if len(image) == 3 else image[:1].repeat(3, 0)
    enlarged = image_io.resize_unit(rgb, height, round(rgb.shape[2] * height / rgb.shape[1]))
    pixels = image_io.from_unit(enlarged.clip(-1, 1).transpose(1, 2, 0), np.uint8)
    return np.pad(pixels, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)
