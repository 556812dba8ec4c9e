"""From stored values to network values and back: value ranges, class ids, alpha."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from diptych.data.images import image_io
from diptych.data.images.class_maps import IDS, class_colours, count_classes, ids_of, one_hot
from diptych.data.images.encoding import PLAIN, Encoding
from diptych.data.images.transforms import Augment
from diptych.errors import ImageError

TOP = {"uint8": 255, "uint16": 65535}


def through_the_network(encoding, array, channels=None):
    """What comes back if a network gives its input."""
    decoded = encoding.decode(array, "a.png")
    x = image_io.to_unit(image_io.with_channels(decoded, channels or array.shape[-1], "a.png"))
    assert x.min() >= -1
    assert x.max() <= 1
    return encoding.encode(x, array.dtype)


@given(st.data(), st.sampled_from(["uint8", "uint16"]), st.integers(1, 3))
def test_values_within_a_range_come_back_exactly(data, dtype, channels):
    low, high = sorted(data.draw(st.lists(st.integers(0, TOP[dtype]), min_size=2, max_size=2, unique=True)))
    array = data.draw(hnp.arrays(dtype, (3, 4, channels), elements=st.integers(low, high)))
    same = through_the_network(Encoding((low, high), dtype), array)
    assert same.dtype == array.dtype
    assert np.array_equal(same, array)


@given(hnp.arrays(np.float32, (3, 4, 1), elements=st.floats(0.25, 0.5, width=32)))
def test_floats_within_a_range_come_back_nearly(array):
    assert np.abs(through_the_network(Encoding((0.25, 0.5), "float32"), array) - array).max() < 1e-6


def test_the_ends_of_a_range_are_the_ends_of_the_network_and_values_outside_are_clipped():
    array = np.array([[[0], [100], [300], [500], [9999]]], np.uint16)
    decoded = Encoding((100, 500), "uint16").decode(array, "a.png")
    assert image_io.to_unit(decoded).ravel().tolist() == [-1, -1, 0, 1, 1]
    assert through_the_network(Encoding((100, 500), "uint16"), array).ravel().tolist() == [100, 100, 300, 500, 500]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_without_settings_nothing_is_touched(dtype):
    array = (np.random.default_rng(0).random((5, 4, 3)) * TOP.get(dtype, 1)).astype(dtype)
    assert PLAIN.decode(array, "a.png") is array
    x = image_io.to_unit(array)
    assert np.array_equal(PLAIN.encode(x, dtype), image_io.from_unit(x, dtype))


def test_a_range_of_another_depth_is_refused():
    with pytest.raises(ImageError, match=r"b.png: expected uint16 values for the range 0 to 4095, got uint8"):
        Encoding((0, 4095), "uint16").decode(np.zeros((2, 2, 1), np.uint8), "b.png")


@given(st.integers(2, 256), st.data())
def test_class_ids_come_back_exactly(classes, data):
    ids = data.draw(hnp.arrays(np.uint8, (4, 5, 1), elements=st.integers(0, classes - 1)))
    same = through_the_network(Encoding(num_classes=classes), ids, classes)
    assert same.dtype == np.uint8
    assert np.array_equal(same, ids)


def test_each_class_is_a_channel_and_255_is_none():
    planes = one_hot(ids_of(np.array([[[0], [2], [255]]], np.uint8), "a.png"), 3, "a.png")
    assert planes.dtype == np.uint8
    assert planes.tolist() == [[[255, 0, 0], [0, 0, 255], [0, 0, 0]]]
    assert one_hot(np.array([[[255]]], IDS), 256, "a.png")[0, 0, 255] == 255


@pytest.mark.parametrize("bad", [3, 254, 300])
def test_an_id_without_a_class_is_an_error_with_file_and_id(bad):
    with pytest.raises(ImageError, match=rf"maps/7.png: holds class id {bad}, and there are 3 classes \(0 to 2"):
        one_hot(np.array([[[0], [bad]]], IDS), 3, "maps/7.png")


def test_colours_and_floats_are_no_class_ids():
    with pytest.raises(ImageError, match=r"a.png: is a colour image"):
        ids_of(np.array([[[1, 2, 3]]], np.uint8), "a.png")
    with pytest.raises(ImageError, match="holds float32"):
        ids_of(np.zeros((2, 2, 1), np.float32), "a.npy")
    assert ids_of(np.array([[[7, 7, 7]]], np.uint8), "a.png").tolist() == [[[7]]]


@pytest.mark.parametrize(
    ("ids", "classes"),
    [([0, 8], 9), ([0, 1, 255], 2), ([0, 200, 255], 201), ([1, 18, 255], 19), ([0, 254, 255], 256), ([255], 256)],
)
def test_classes_are_counted_by_the_largest_id(ids, classes):
    assert count_classes(ids) == classes


@pytest.mark.parametrize(("ids", "why"), [([0, 255], "beside 255"), ([0], "class id 0 alone"), ([0, 26001], "26001")])
def test_ids_that_make_no_label_map_are_refused(ids, why):
    with pytest.raises(ImageError, match=why):
        count_classes(ids)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 40), st.integers(1, 40))
def test_class_ids_are_resized_to_the_nearest_pixel(high, wide, height, width):
    ids = np.arange(high * wide, dtype=IDS).reshape(high, wide, 1)
    rows, columns = np.divmod(image_io.resize(ids, height, width)[..., 0], wide)
    for places, size, new in ((rows[:, 0], high, height), (columns[0], wide, width)):
        middles = (np.arange(new) + 0.5) * size / new
        assert np.abs(places + 0.5 - middles).max() <= 0.5 + 1e-9
    assert (rows == rows[:, :1]).all()
    assert (columns == columns[:1]).all()


def test_class_ids_are_resized_as_pillow_does():
    ids = np.random.default_rng(0).integers(0, 256, (37, 53), np.uint8)
    made = image_io.resize(ids[..., None].astype(IDS), 29, 71)
    assert np.array_equal(made[..., 0], np.asarray(Image.fromarray(ids).resize((71, 29), Image.Resampling.NEAREST)))


@pytest.mark.parametrize("fit", ["squash", "short_side", "center_square"])
def test_no_way_of_cropping_makes_new_class_ids(fit):
    ids = np.where(np.random.default_rng(0).random((41, 57, 1)) < 0.5, 1, 8).astype(IDS)
    augment = Augment(300, 200, fit)
    for seed in range(4):
        assert set(np.unique(augment(ids, np.random.RandomState(seed)))) <= {1, 8}
        zoomed = Augment(300, 200, fit, crop_mode="random_resized")(ids, np.random.RandomState(seed))
        assert set(np.unique(zoomed)) <= {1, 8}
    assert set(np.unique(augment.without_randomness(ids))) <= {1, 8}


def test_class_colours_are_those_of_pascal_voc_and_all_differ():
    assert class_colours(4).tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert len(np.unique(class_colours(256), axis=0)) == 256
