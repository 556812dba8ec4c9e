"""What a person can draw as input of a model, by example images: classes of a label map, or lines on a background."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from diptych.serving.descriptions import Label

MAX_PIXELS = 20_000  # of each image that are counted
MAX_LABELS = 32
MIN_SHARE = 0.002  # of all pixels; a rarer colour is noise
CLASS_DISTANCE = 48.0  # Euclidean, of 8-bit RGB; nearer colours are noise of one class
NOISE = 6.0  # levels of JPEG noise around the colour of a class
MIN_NEAR = 0.35  # share of pixels beside the most frequent class within NOISE of one; photographs have at most 0.3
LINE_LEVELS = 48  # distance to black or white of the pixels of line drawings
MIN_LINES = 0.8  # share of these pixels
MIN_BACKGROUND = 0.5  # share of the background


def drawing_of(images: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return the fields `drawing`, `labels`, `background` and `pen` of a source, from uint8 images (H, W, 1 or 3).

    Both are found by the colours alone; images that are neither label maps nor line drawings give no field.
    """
    pixels = _pixels(images)
    if not len(pixels):
        return {}
    lines = _lines(pixels)
    if lines:
        return lines
    labels = _labels(pixels)
    return {"drawing": "labels", "labels": labels, "background": labels[0].color} if labels else {}


def class_labels(num_classes: int) -> tuple[Label, ...]:
    """Return the labels of maps of class ids, which are drawn in the grey of their id."""
    return tuple(Label(name=f"class {number}", color=_hex((number,) * 3)) for number in range(num_classes))


def _pixels(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return some of the pixels of all images as uint8 (N, 3)."""
    parts = [np.zeros((0, 3), np.uint8)]
    for image in images:
        if image.dtype == np.uint8 and image.shape[2] in (1, 3):
            some = image.reshape(-1, image.shape[2])[:: 1 + image.shape[0] * image.shape[1] // MAX_PIXELS]
            parts.append(np.broadcast_to(some, (len(some), 3)))
    return np.concatenate(parts)


def _lines(pixels: np.ndarray) -> dict[str, Any]:
    """Return the fields of line drawings; empty for other images."""
    is_grey = np.ptp(pixels.astype(int), axis=1) <= NOISE
    level = pixels.mean(axis=1)
    dark, light = (level < LINE_LEVELS) & is_grey, (level > 255 - LINE_LEVELS) & is_grey
    if (dark | light).mean() < MIN_LINES or max(dark.mean(), light.mean()) < MIN_BACKGROUND or not dark.any():
        return {}
    colours = ("#ffffff", "#000000") if light.mean() > dark.mean() else ("#000000", "#ffffff")
    return {"drawing": "lines", "background": colours[0], "pen": colours[1]}


def _labels(pixels: np.ndarray) -> tuple[Label, ...]:
    """Return the classes of label maps, the most frequent first; empty for other images."""
    _, inverse, counts = np.unique(pixels // 8, axis=0, return_inverse=True, return_counts=True)
    colours: list[np.ndarray] = []
    for cell in np.argsort(-counts, kind="stable"):
        if counts[cell] < MIN_SHARE * len(pixels) or len(colours) > MAX_LABELS:
            break
        members = pixels[inverse.reshape(-1) == cell]
        colour = np.median(members, axis=0)
        if all(np.linalg.norm(colour - other) >= CLASS_DISTANCE for other in colours):
            colours.append(np.round(colour))
    if not 2 <= len(colours) <= MAX_LABELS:
        return ()
    distances = np.stack([np.linalg.norm(pixels - colour, axis=1) for colour in colours])
    others = distances[:, distances[0] > CLASS_DISTANCE / 2]  # a photograph may have a plain background
    if not others.size or (others.min(axis=0) <= NOISE).mean() < MIN_NEAR:
        return ()
    return tuple(Label(name=_hex(colour), color=_hex(colour)) for colour in colours)


def _hex(colour: Any) -> str:
    return "#" + "".join(f"{int(value):02x}" for value in colour)
