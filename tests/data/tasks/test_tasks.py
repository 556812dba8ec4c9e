"""Tasks as functions of a photograph: shapes, ranges, randomness, and that outputs are finished as they should."""

import re
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diptych.data.config import TaskName
from diptych.data.images.lab import lab_of, rgb_of
from diptych.data.tasks.degrade import moved
from diptych.data.tasks.known_tasks import TASKS, task_of
from diptych.data.tasks.task import finished, normal

VARIANTS = [
    *((name, {}) for name in TASKS),
    ("colorize", {"colors": "rgb"}),
    ("edges", {"kind": "soft"}),
    *(("inpaint", {"mask": mask}) for mask in ("blocks", "freeform", "outpaint")),
    ("inpaint", {"mask": "freeform", "mask_channel": True}),
    ("denoise", {"photons": 50}),
    ("super_resolution", {"sigma": [0.5, 1], "noise": [1, 5], "quality": [30, 60]}),
]


def photograph(height=48, width=64, seed=0):
    """A smooth photograph (H, W, 3) in [0, 1] with a dark disc, of 8-bit values."""
    random = np.random.RandomState(seed)
    rows, columns = np.mgrid[:height, :width]
    shades = [0.6 + 0.3 * np.sin(rows / 9 * (1 + k) + random.rand()) * np.cos(columns / 11) for k in range(3)]
    image = np.stack(shades, -1)
    image[(rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (height / 4) ** 2] *= 0.2
    return (np.rint(image * 255) / 255).astype(np.float32)


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_pair_has_the_size_the_channels_and_the_range_of_images(name, options, channels):
    task, image = task_of(name, options), photograph()[..., :channels]
    source, target = task.source(image, np.random.RandomState(1)), task.target(image)
    if channels == 3 or not task.needs_colors:
        assert (source.shape[2], target.shape[2]) == task.channels(channels)
    for side in (source, target):
        assert side.dtype == np.float32
        assert side.shape[:2] == image.shape[:2]
        assert side.min() >= 0
        assert side.max() <= 1
    assert task.needs_colors or not np.array_equal(source, image)
    assert np.array_equal(source, task.source(image, np.random.RandomState(1)))


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_the_true_target_is_finished_to_the_photograph(name, options):
    task, image = task_of(name, options), photograph()
    source, target = task.source(image, np.random.RandomState(1)), task.target(image)
    finished_image = task.finish(target, source)
    assert finished_image.shape[2] == task.finished_channels(target.shape[2])
    assert np.abs(finished_image - image).max() < 0.5 / 255
    y, x = (2 * each.transpose(2, 0, 1) - 1 for each in (target, source))
    assert np.allclose(finished(task, y, x), 2 * image.transpose(2, 0, 1) - 1, atol=1 / 255)


@pytest.mark.parametrize("name", ["sketch", "deblur", "denoise", "jpeg", "lowlight"])
def test_another_generator_gives_another_source(name):
    image, task = photograph(), task_of(name, {})
    assert not np.array_equal(*(task.source(image, np.random.RandomState(seed)) for seed in (1, 2)))


def test_the_names_of_the_setting_are_those_of_the_table():
    assert get_args(TaskName) == tuple(TASKS)


@given(arrays(np.uint8, (4, 5, 3)))
def test_lab_and_back_is_exact_to_a_fraction_of_a_level(pixels):
    image = pixels.astype(np.float32) / 255
    assert np.abs(rgb_of(lab_of(image)) - image).max() < 0.1 / 255


def test_lab_of_known_colours():
    red, white, grey = lab_of(np.array([[[1, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5]]], np.float32))[0]
    assert red == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert white == pytest.approx([100, 0, 0], abs=0.01)
    assert grey == pytest.approx([53.39, 0, 0], abs=0.01)


def test_lab_of_8_bit_values_is_that_of_the_formula():
    image = photograph(120, 100)
    other = image.copy()
    other[0, 0] += 1e-3  # no value of 8 bits: the table is not used for its block
    assert np.array_equal(lab_of(image)[1:], lab_of(other)[1:])
    assert not np.array_equal(lab_of(image)[0, 0], lab_of(other)[0, 0])


@pytest.mark.parametrize(("length", "angle"), [(1.0, 2.0), (9.3, 0.7), (15.0, 2.5), (15.0, 0.0), (40.0, 1.6)])
def test_motion_blur_is_the_mean_along_a_line(length, angle):
    cv2, image = pytest.importorskip("cv2"), photograph()
    side = 2 * int(np.ceil(length / 2)) + 1
    kernel = np.zeros((side, side), np.float32)
    for step in np.linspace(-length / 2, length / 2, 8 * side):
        row, column = (int(np.rint(side // 2 + step * each)) for each in (np.sin(angle), np.cos(angle)))
        kernel[row, column] += 1 / (8 * side)
    expected = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    assert np.allclose(moved(image, length, angle, "deblur"), expected, atol=1e-6)
    assert np.allclose(moved(image[..., :1], length, angle, "deblur"), expected[..., :1], atol=1e-6)


def test_noise_is_normal():
    values = normal((200, 300, 3), np.random.RandomState(0))
    assert values.shape == (200, 300, 3)
    assert abs(values.mean()) < 0.01
    assert values.std() == pytest.approx(1, abs=0.01)
    assert (np.abs(values) > 1.96).mean() == pytest.approx(0.05, abs=0.005)
    assert np.abs(np.corrcoef(values.reshape(-1, 3).T) - np.eye(3)).max() < 0.01


MASKS = st.sampled_from(["center", "blocks", "freeform", "outpaint"])


@given(MASKS, st.integers(0, 1000), st.integers(24, 90), st.integers(24, 90), st.booleans())
def test_only_missing_pixels_are_replaced(mask, seed, height, width, mask_channel):
    task, image = task_of("inpaint", {"mask": mask, "mask_channel": mask_channel}), photograph(height, width)
    source = task.source(image, np.random.RandomState(seed))
    missing = task.missing(source)
    assert missing.any()
    assert not missing.all()
    made = task.finish(np.zeros_like(image), source)
    assert not made[missing].any()
    assert np.array_equal(made[~missing], image[~missing])


@given(st.sampled_from(["center", "blocks", "freeform"]), st.integers(0, 100))
def test_a_mask_is_the_same_at_another_size(mask, seed):
    task = task_of("inpaint", {"mask": mask})
    small, large = (task.source(photograph(side, side), np.random.RandomState(seed)) for side in (40, 160))
    large_mask = task.missing(large).reshape(40, 4, 40, 4).mean((1, 3)) > 0.5
    assert (large_mask != task.missing(small)).mean() < 0.06  # pixels at the border of the mask


def test_transparent_pixels_are_the_missing_ones():
    image = np.concatenate([photograph(), np.ones((48, 64, 1), np.float32)], -1)
    image[5:9, 7:30, 3] = 0
    source = task_of("inpaint", {}).source(image, np.random.RandomState(0))
    expected = np.zeros((48, 64), bool)
    expected[5:9, 7:30] = True
    assert np.array_equal(task_of("inpaint", {}).missing(source), expected)


def test_edges_are_lines_of_one_pixel_without_short_ones():
    image = np.full((64, 64, 3), 0.9, np.float32)
    image[16:48, 16:48] = 0.1
    image[4:6, 4:6] = 0.1
    source = task_of("edges", {}).source(image, np.random.RandomState(0))[..., 0]
    assert set(np.unique(source)) == {0, 1}
    assert not (source[:10, :10] == 0).any()
    assert 100 <= (source == 0).sum() <= 140  # the outline of a square of 32 pixels
    short = task_of("edges", {"min_length": 0}).source(image, np.random.RandomState(0))[..., 0]
    assert (short[:10, :10] == 0).any()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("colour", {}, "task='colour': unknown task; did you mean 'colorize'?; choose one of colorize, edges"),
        ("inpaint", {"maks": "center"}, "inpaint has no option 'maks'; did you mean 'mask'?; it has mask, fraction"),
        ("inpaint", {"count": [3, 2]}, "count=[3, 2]: expected [LOW,HIGH] with 1 <= LOW <= HIGH <= 100"),
        ("jpeg", {"quality": [0, 50]}, "quality=[0, 50]: expected [LOW,HIGH] with 1 <= LOW <= HIGH <= 95"),
        ("jpeg", {"quality": 50}, "of jpeg: quality=50: expected [LOW,HIGH], two numbers, such as [5.0, 60.0]"),
        ("jpeg", {"quality": [50]}, "of jpeg: quality=[50]: expected [LOW,HIGH], two numbers, such as [5.0, 60.0]"),
        ("super_resolution", {"quality": 50}, "quality=50: expected [LOW,HIGH], two numbers"),
        ("edges", {"thresholds": [9, 3]}, "task_options of edges: thresholds=[9.0, 3.0]: expected [LOW,HIGH]"),
    ],
)
def test_a_wrong_option_is_named(name, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        task_of(name, options)
