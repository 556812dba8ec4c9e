"""Values with a declared range: floats outside 0..1 and signed integers, from files to the networks and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from diptych.data.images import image_io
from diptych.data.images.encoding import Encoding
from diptych.data.images.stored_values import limits_of
from diptych.errors import ImageError

LIMITS = st.floats(-1e6, 1e6, width=32)
RNG = np.random.default_rng(0)


def through_networks(values, encoding):
    """The values after the way into a network, which copies them, and out of it."""
    return encoding.encode(image_io.to_unit(encoding.decode(values, "a.tif")), np.uint8)


@settings(deadline=None)
@given(st.tuples(LIMITS, LIMITS).filter(lambda pair: pair[1] - pair[0] > 1e-3), st.data())
def test_floats_return_to_within_a_millionth_of_the_range(limits, data):
    low, high = limits
    values = data.draw(arrays.arrays(np.float32, (3, 4, 2), elements=st.floats(low, high, width=32)))
    made = through_networks(values, Encoding((low, high), "float32"))
    assert made.dtype == np.float32
    # 2 ** -23 of the largest magnitude is the distance of two floats
    tolerance = 1e-6 * (high - low) + 2.0**-23 * max(abs(low), abs(high))
    assert np.abs(made.astype(np.float64) - values).max() <= tolerance


@pytest.mark.parametrize(("dtype", "low", "high"), [("int16", -1024, 3071), ("uint16", 0, 65535), ("int32", -9e5, 7e6)])
def test_integers_return_exactly_and_values_outside_are_clipped(dtype, low, high):
    values = RNG.integers(low, high, (8, 8, 1), endpoint=True).astype(dtype)
    made = through_networks(values, Encoding((low, high), dtype))
    assert made.dtype == dtype
    assert np.array_equal(made, values)
    outside = np.array([[[low - 900], [high + 900]]], np.float64).clip(*limits_of(np.dtype(dtype)))
    assert through_networks(outside.astype(dtype), Encoding((low, high), dtype)).ravel().tolist() == [low, high]


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "uint16", "uint8"])
def test_stored_values_are_read_as_they_are(tmp_path, dtype, suffix):
    low, high = (-1024, 3071) if dtype[0] in "if" else (0, 255)
    values = RNG.integers(low, high, (5, 7, 1)).astype(dtype)
    path = tmp_path / f"a{suffix}"
    if (dtype, suffix) == ("int16", ".tif"):
        pytest.importorskip("tifffile").imwrite(path, values[..., 0])
    else:
        image_io.write(path, values)
    assert image_io.probe(path, "values") == image_io.Header(5, 7, 1, dtype)
    read = image_io.read(path, "values")
    assert read.dtype == dtype
    assert np.array_equal(read, values)
    if low < 0:
        with pytest.raises(ImageError, match=rf"a{suffix}: has .*; train with range=\[LOW,HIGH\] or range=auto"):
            image_io.read(path)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.full((2, 2), np.nan, np.float32), "not finite"),
        (np.full((2, 2), 1e300), "not finite"),
        (np.full((2, 2), 2**40), r"outside -2147483648\.\.2147483647"),
        (np.full((2, 2), 1j), "dtype complex128"),
    ],
)
def test_values_that_no_range_can_have_are_refused(tmp_path, values, problem):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(ImageError, match=rf"a\.npy: has .*{problem}"):
        image_io.read(tmp_path / "a.npy", "values")


def test_unsigned_tiff_of_32_bits_above_int32_is_refused(tmp_path):
    pytest.importorskip("tifffile").imwrite(tmp_path / "a.tif", np.full((2, 2), 2**31 + 5, np.uint32))
    with pytest.raises(ImageError, match="above 2147483647"):
        image_io.read(tmp_path / "a.tif", "values")


def test_a_pil_image_of_floats_has_its_values():
    picture = Image.fromarray(np.full((2, 2), -7.5, np.float32))
    assert (image_io.from_pil(picture, kind="values") == -7.5).all()


def test_another_dtype_than_that_of_the_range_is_refused_but_for_integers_of_more_than_8_bits():
    encoding = Encoding((-1024.0, 3071.0), "int16")
    same = np.full((2, 2, 1), 100, np.int16)
    assert np.array_equal(encoding.decode(same, "a"), encoding.decode(same.astype(np.int32), "a"))
    for dtype in ("uint8", "float32"):
        with pytest.raises(ImageError, match=f"b.tif: expected int16 values for the range -1024 to 3071, got {dtype}"):
            encoding.decode(same.astype(dtype), "b.tif")
