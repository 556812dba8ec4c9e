"""`diptych.data.images.image_io`: the unit range, channels and sizes of pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pictures import FUZZ, GREY, RGB, same, shaped
from PIL import Image

from diptych.data.images.image_io import from_unit, resize, to_unit, with_channels
from diptych.errors import ImageError


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_value_survives_the_unit_range(dtype):
    top = np.iinfo(dtype).max
    values = np.arange(top + 1, dtype=dtype).reshape(-1, 16, 1)
    unit = to_unit(values)
    assert unit.dtype == np.float32
    assert unit.shape == values.shape
    np.testing.assert_allclose(unit, values / (top / 2) - 1, atol=1e-7)
    assert (unit.min(), unit.max()) == (-1, 1)
    same(from_unit(unit, dtype), values)
    same(from_unit(unit + np.float32(0.8 / top), dtype), values)  # less than half a step away
    same(from_unit(unit.astype(np.float64), values.dtype), values)


def test_unit_range_of_floats_and_the_clamp():
    same(to_unit(np.array([0, 0.25, 1], np.float32)), np.array([-1, -0.5, 1], np.float32))
    same(from_unit(np.array([-9, -1, -0.5, 9], np.float32), "float32"), np.array([0, 0, 0.25, 1], np.float32))
    same(from_unit(np.array([-9, 9.0, 1.0000001]), np.uint8), np.array([0, 255, 255], np.uint8))
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="finite"):
            from_unit(np.array([0, bad]), np.uint8)
    for call in (lambda: to_unit(np.zeros(2, np.int32)), lambda: from_unit(np.zeros(2), np.int32)):
        with pytest.raises(ValueError, match="int32"):
            call()


@FUZZ
@given(array=hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_luminance_is_that_of_pillow(array):
    expected = np.asarray(Image.fromarray(array).convert("L"))[..., None]
    same(with_channels(array, 1, "a.png"), expected)
    deep = with_channels(array.astype(np.uint16) * 257, 1, "a.png")
    assert deep.dtype == np.uint16
    np.testing.assert_allclose(deep[..., 0] / 257, array @ [0.299, 0.587, 0.114], atol=0.02)
    floats = with_channels((array / 255).astype(np.float32), 1, "a.png")
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats[..., 0] * 255, array @ [0.299, 0.587, 0.114], atol=0.01)


def test_channels():
    same(with_channels(GREY, 3, "a.png"), np.concatenate([GREY] * 3, axis=2))
    assert with_channels(RGB, 3, "a.png") is RGB
    same(with_channels(np.full((1, 1, 3), 65535, np.uint16), 1, "a.png"), np.full((1, 1, 1), 65535, np.uint16))
    assert with_channels(np.ones((1, 1, 3), np.float32), 1, "a.png").max() <= 1
    for array, wanted in ((RGB, 2), (RGB, 4), (np.zeros((2, 2, 2)), 1), (np.zeros((2, 2, 4)), 3)):
        with pytest.raises(ImageError, match=rf"a\.png: expected {wanted} channels, got {array.shape[2]};"):
            with_channels(array, wanted, "a.png")


@FUZZ
@given(
    array=hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3]))),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
)
def test_resize_is_that_of_pillow(array, height, width):
    plain = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    expected = np.asarray(plain.resize((width, height), Image.Resampling.BICUBIC)).reshape(height, width, -1)
    same(resize(array, height, width), expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_resize_of_every_kind(dtype, channels):
    array = shaped(channels, dtype)
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    small, large = resize(array, 3, 4), resize(array, 11, 9)
    assert (small.shape, large.shape) == ((3, 4, channels), (11, 9, channels))
    assert small.dtype == large.dtype == array.dtype
    bytes_of_it = (array / top * 100 + 80).round().astype(np.uint8)  # far from black and white: Pillow clips twice
    middling = (bytes_of_it / 255 * top).astype(dtype)
    for plane in range(channels):
        pillow = np.asarray(Image.fromarray(bytes_of_it[..., plane]).resize((9, 11), Image.Resampling.BICUBIC))
        assert abs(resize(middling, 11, 9)[..., plane] / top * 255 - pillow).max() <= 2
    edge = np.zeros((8, 8, channels), dtype)
    edge[:, 4:] = top
    swung = resize(edge, 16, 16)
    assert (swung.min(), swung.max()) == (0, top), "the overshoot of bicubic must be clamped, not wrapped"
    assert resize(array, *array.shape[:2]) is array
