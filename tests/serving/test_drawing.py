"""What a person can draw: the palette of label maps, pen and background of line drawings."""

import numpy as np
import pytest
from PIL import Image

from diptych.serving.descriptions import Label
from diptych.serving.drawing import class_labels, drawing_of

COLOURS = np.array([(0, 0, 170), (255, 170, 0), (0, 255, 255), (170, 0, 0)], np.uint8)


def label_map(seed, noise=0):
    random = np.random.default_rng(seed)
    blocks = random.choice(4, (8, 8), p=[0.6, 0.2, 0.15, 0.05])
    pixels = COLOURS[np.kron(blocks, np.ones((8, 8), int))].astype(int)
    return np.clip(pixels + random.integers(-noise, noise + 1, pixels.shape), 0, 255).astype(np.uint8)


def smooth_photograph(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("noise", [0, 3])
def test_the_palette_of_label_maps_is_found_most_frequent_first(noise):
    found = drawing_of([label_map(seed, noise) for seed in range(4)])
    assert (found["drawing"], found["background"]) == ("labels", found["labels"][0].color)
    colours = [[int(label.color[at : at + 2], 16) for at in (1, 3, 5)] for label in found["labels"]]
    assert np.abs(np.array(colours) - COLOURS.astype(int)).max() <= noise


@pytest.mark.parametrize(("invert", "background", "pen"), [(0, "#ffffff", "#000000"), (255, "#000000", "#ffffff")])
@pytest.mark.parametrize("channels", [1, 3])
def test_lines_have_a_background_and_a_pen(invert, background, pen, channels):
    image = np.full((40, 40, channels), 255 - invert, np.uint8)
    image[10:12, 5:30] = invert
    image[12, 5:30] = 128
    assert drawing_of([image]) == {"drawing": "lines", "background": background, "pen": pen}


def test_photographs_and_blank_images_are_not_drawn():
    assert drawing_of([smooth_photograph(seed) for seed in range(4)]) == {}
    assert drawing_of([np.full((9, 9, 3), 255, np.uint8)]) == {}
    assert drawing_of([]) == drawing_of([np.zeros((4, 4, 5), np.uint8)]) == {}


def test_class_ids_are_drawn_in_the_grey_of_their_id():
    assert class_labels(3)[2] == Label(name="class 2", color="#020202")
