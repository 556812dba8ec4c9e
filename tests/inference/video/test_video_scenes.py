"""Cuts, and flicker with statistics of each scene or of each frame."""

from itertools import pairwise

import numpy as np
import pytest
from clips import panned
from translators import made

from diptych.inference.video_clips import Frame
from diptych.inference.video_scenes import CUT, histogram, histogram_difference, scene_statistics, with_first_frames
from diptych.inference.video_translation import _translated
from diptych.networks.normalisation_statistics import frozen_statistics

SHADE = np.linspace(0.2, 1, 320)[None, :, None]  # a scene that is dark at one side: statistics change as it moves


def scene(seed, count=12, step=8, side=96):
    """A pan over a smooth image: what is at column x of a frame is at x - step of the next one."""
    generator = np.random.default_rng(seed)
    coarse = np.kron(generator.integers(0, 256, (side // 16, 20, 3)), np.ones((16, 16, 1)))
    image = (coarse * SHADE).astype(np.uint8)
    return [Frame(image[:, step * number : step * number + side], number, 1) for number in range(count)]


def flicker(translator, frames, statistics, step=8, border=32):
    """Mean change in levels of what is seen in successive frames, away from the border."""
    results = [item.pixels.astype(int) for item in _translated(translator, frames, {}, statistics, "clip")]
    return np.mean([abs(_inside(a, border + step) - _inside(b, border, step)).mean() for a, b in pairwise(results)])


def _inside(image, left, right=0, border=32):
    """Columns from `left` on, to the border and further columns at the right."""
    return image[border:-border, left : -border - right or None]


def test_flicker_of_a_panned_scene():
    """Frozen statistics leave none; those of each frame change the colours as the scene moves."""
    translator = made("cyclegan", generator="resnet_1", ngf=4, init_gain=0.2)
    frozen, plain = (flicker(translator, scene(0), over) for over in ("scene", "frame"))
    assert plain > 0.2
    assert frozen < 0.001, (frozen, plain)


def test_first_frames_of_each_scene():
    """Packets stay in their place; a scene that is shorter than the look-ahead gives all its frames."""
    dark, bright = (panned(5, seed=seed) for seed in (1, 2))
    frames = [Frame(pixels, number, 1) for number, pixels in enumerate([*dark, *(255 - each // 4 for each in bright)])]
    items = ["early", *frames[:2], "sound", *frames[2:]]
    pairs = list(with_first_frames(items, 3))
    assert [item for item, _ in pairs] == items
    starts = {item.pts: [each.pts for each in first] for item, first in pairs if first is not None}
    assert starts == {0: [0, 1, 2], 5: [5, 6, 7]}
    assert [first for _, first in with_first_frames(frames[:2], 16)] == [frames[:2], None]


@pytest.mark.parametrize(
    "change", [lambda x: x, lambda x: np.clip(x + 8.0, 0, 255).astype(np.uint8), lambda x: x[:, ::-1]]
)
def test_no_cut_where_light_or_place_change(change):
    pixels = panned(1)[0]
    assert histogram_difference(histogram(pixels), histogram(change(pixels))) < CUT


def test_statistics_are_those_of_whole_frames_where_these_are_small():
    """One frame that is smaller than a window: its translation is the plain one."""
    translator = made("cyclegan", generator="resnet_1", ngf=4)
    frame = scene(0, 1)[0]
    with frozen_statistics(scene_statistics(translator, {}, [frame], "clip")):
        frozen = translator.array(frame.pixels)
    assert abs(frozen.astype(int) - translator.array(frame.pixels)).max() <= 1
