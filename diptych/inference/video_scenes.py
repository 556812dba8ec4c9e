"""Scenes of a clip: cuts are found by colour histograms, and normalisation statistics are frozen from cut to cut.

A normalisation layer that takes mean and variance of each frame changes the colours of an object when another one
enters the frame, which is seen as flicker. The statistics of a scene are pooled over windows of its first frames.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diptych.inference.sampled_statistics import SAMPLE_SIDE
from diptych.inference.tile_grid import TileGrid, spread
from diptych.inference.video_clips import Frame, Item
from diptych.networks.normalisation_statistics import Statistics, pooled_statistics

if TYPE_CHECKING:
    from diptych.inference.translator import Translator

CUT = 0.2  # share of pixels whose colour has no counterpart in the frame before; pans: below 0.05, cuts: above 0.2
BINS = 16  # of a histogram of each channel
HISTOGRAM_SIDE = 128  # about so many rows and columns are counted
LOOK_AHEAD = 16  # frames at the start of a scene that statistics are taken of
WINDOWS = 16  # of them, of SAMPLE_SIDE pixels

LEVELS = np.arange(256)[:, None] * (BINS - 1) / 255  # a level counts for the two nearest bins, so that
SHARES = np.maximum(0, 1 - abs(LEVELS - np.arange(BINS)))  # a small change of brightness is a small difference


def histogram(pixels: np.ndarray) -> np.ndarray:
    """Return the shares (3, BINS) of the levels of each channel of a frame uint8 (H, W, 3)."""
    rows, columns = (max(1, side // HISTOGRAM_SIDE) for side in pixels.shape[:2])
    counted = pixels[::rows, ::columns].reshape(-1, pixels.shape[2])
    counts = np.stack([np.bincount(channel, minlength=256) for channel in counted.T])
    return np.asarray(counts @ SHARES / len(counted))


def histogram_difference(before: np.ndarray, after: np.ndarray) -> float:
    """Return half of the L1 distance of two histograms, as a mean over the channels: 0 (equal) to 1."""
    return float(abs(after - before).sum(1).mean() / 2)


def with_first_frames(items: Iterable[Item], count: int = LOOK_AHEAD) -> Iterator[tuple[Item, list[Frame] | None]]:
    """Yield each item, and for the first frame of a scene the first `count` frames of that scene; for others None.

    At most `count` frames, and the packets between them, are held.
    """
    held: list[Item] = []
    last, is_start = None, False
    for item in items:
        if isinstance(item, Frame):
            counts = histogram(item.pixels)
            if last is None or histogram_difference(last, counts) > CUT:
                yield from _released(held)
                held, is_start = [], True
            last = counts
        held.append(item)
        if not is_start or sum(isinstance(each, Frame) for each in held) == count:
            yield from _released(held) if is_start else ((each, None) for each in held)
            held, is_start = [], False
    yield from _released(held)


def _released(held: list[Item]) -> Iterator[tuple[Item, list[Frame] | None]]:
    frames = [item for item in held if isinstance(item, Frame)]
    for item in held:
        yield item, frames if frames and item is frames[0] else None


def scene_statistics(
    translator: "Translator", controls: Mapping[str, Any], frames: list[Frame], label: str
) -> list[Statistics]:
    """Return the statistics of normalisation layers, pooled over windows of the first frames of a scene."""
    windows = _windows(translator, controls, frames, label)
    with pooled_statistics() as statistics:
        translator.tensors(torch.stack(windows), [controls], label)
    return statistics


def _windows(translator: "Translator", controls: Mapping[str, Any], frames: list[Frame], label: str) -> list[Tensor]:
    """Return network inputs (C, H, W): windows spread over the frames and over the time; small frames are whole."""
    inputs = {}
    for index in sorted({number * len(frames) // WINDOWS for number in range(WINDOWS)}):
        inputs[index] = _network_input(translator, controls, frames[index].pixels, label)
    if translator.method.traits.fixed_size:
        return list(inputs.values())
    height, width = inputs[0].shape[1:]
    windows = {}
    for number, window in enumerate(spread(TileGrid(height, width, 1, 0, 1), SAMPLE_SIDE, WINDOWS)):
        index = number * len(frames) // WINDOWS
        rows, columns = slice(window.top, window.bottom), slice(window.left, window.right)
        windows[index, window] = inputs[index][:, rows, columns]
    return list(windows.values())


def _network_input(translator: "Translator", controls: Mapping[str, Any], pixels: np.ndarray, label: str) -> Tensor:
    """Return a frame as network input (C, H, W) in [-1, 1], as `Translator.translate_pixels` makes it."""
    adapter = translator.adapter(controls)
    decoded = adapter.source_encoding.decode(adapter.cut(pixels), label)
    if translator.options.scale == "training":
        decoded = adapter.resized(decoded, label)
    return translator.to_unit_tensor(adapter.source_of(decoded), label, controls)
