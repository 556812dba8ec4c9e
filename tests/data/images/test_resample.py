"""`diptych.data.images.resample`: windows of a resized image equal Pillow's, bit for bit."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import FUZZ, RNG, same, saved, shaped
from PIL import Image

from diptych.data.batches import to_tensor
from diptych.data.images import image_io, resample
from diptych.data.images.resample import resize_and_crop, resize_and_crop_exact
from diptych.data.images.transforms import Augment

SIDES = st.integers(1, 130)


def noise(height, width, channels=3, extreme=False):
    """Bytes at random; only black and white if `extreme`, where the filter swings furthest past both."""
    made = RNG.integers(0, 256, (height, width, channels), np.uint8)
    return np.where(made > 127, np.uint8(255), np.uint8(0)) if extreme else made


def of_pillow(array, height, width, top, left, crop):
    plain = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    whole = np.asarray(plain.resize((width, height), Image.Resampling.BICUBIC)).reshape(height, width, -1)
    return whole[top : top + crop, left : left + crop]


@FUZZ
@given(st.data(), SIDES, SIDES, st.sampled_from([1, 3]), st.booleans())
def test_a_window_of_an_enlarged_image_is_that_of_pillow(data, high, wide, channels, extreme):
    height, width = high + data.draw(st.integers(0, 150)), wide + data.draw(st.integers(0, 150))
    crop = data.draw(st.integers(1, min(height, width)))
    top, left = data.draw(st.integers(0, height - crop)), data.draw(st.integers(0, width - crop))
    array, place = noise(high, wide, channels, extreme), (height, width, top, left, crop)
    same(np.ascontiguousarray(resize_and_crop_exact(array, *place)), of_pillow(array, *place))


@FUZZ
@given(st.data(), st.integers(1, 300), st.sampled_from([1, 3]), st.booleans())
def test_a_window_of_a_square_is_that_of_pillow_down_to_an_eighth(data, side, channels, extreme):
    new = data.draw(st.integers(-(-side // resample._MAX_REDUCTION), 300))
    crop = data.draw(st.integers(1, new))
    top, left = data.draw(st.integers(0, new - crop)), data.draw(st.integers(0, new - crop))
    array, place = noise(side, side, channels, extreme), (new, new, top, left, crop)
    same(np.ascontiguousarray(resize_and_crop_exact(array, *place)), of_pillow(array, *place))


@pytest.mark.parametrize("size", [64, 128, 178, 218, 256, 300, 512, 1024])
@pytest.mark.parametrize("extreme", [False, True])
def test_the_usual_sizes(size, extreme):
    array = noise(size, size, 3, extreme)
    for new, crop in ((286, 256), (286, 286), (572, 512)):
        for top, left in ((0, 0), (new - crop, new - crop), (7 % (new - crop + 1), 0)):
            same(
                np.ascontiguousarray(resize_and_crop_exact(array, new, new, top, left, crop)),
                of_pillow(array, new, new, top, left, crop),
            )


def test_an_eighth_is_the_most_that_float32_holds():
    """The sum of bytes by the lower 11 bits, at worst, in units of 1/2**11; and no further is asked for."""
    places, _ = resample._filter_taps(resample._MAX_REDUCTION * 300, 300)
    assert places.shape[2] * 255 * 2047 < 2**24
    assert not resample._is_faster(np.zeros((1603, 1603, 3), np.uint8), 200, 200, 200)


@FUZZ
@given(st.data(), SIDES, SIDES, SIDES, SIDES, st.sampled_from([1, 2, 3]))
def test_a_window_is_cut_out_of_the_resized_image_whichever_way_it_is_made(data, high, wide, height, width, channels):
    dtype = data.draw(st.sampled_from(["uint8", "uint16", "float32"]))
    array = np.ascontiguousarray(np.resize(shaped(channels, dtype), (high, wide, channels)))
    crop = data.draw(st.integers(1, min(height, width)))
    top, left = data.draw(st.integers(0, height - crop)), data.draw(st.integers(0, width - crop))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resample, "_MIN_CROP", 1)
        made = resize_and_crop(array, height, width, top, left, crop)
    expected = image_io.resize(array, height, width)[top : top + crop, left : left + crop]
    same(np.ascontiguousarray(made), np.ascontiguousarray(expected))


def test_both_ways_are_taken(monkeypatch):
    def never(*_):
        raise AssertionError("this was to be left to Pillow")

    assert resample._is_faster(noise(256, 256), 286, 286, 256)
    monkeypatch.setattr(resample, "resize_and_crop_exact", never)
    for size, new, crop in (((64, 64), 72, 60), ((400, 300), 286, 256), ((286, 286), 286, 256), ((999, 999), 99, 99)):
        assert resize_and_crop(noise(*size), new, new, 0, 0, crop).shape == (crop, crop, 3)
    assert resize_and_crop(noise(256, 256).astype(np.uint16), 286, 286, 3, 5, 256).shape == (256, 256, 3)
    with pytest.raises(AssertionError, match="left to Pillow"):
        resize_and_crop(noise(256, 256), 286, 286, 3, 5, 256)


@pytest.mark.parametrize("half", [None, 0, 1])
@pytest.mark.parametrize("flip", [False, True])
def test_data_floor_a_file_becomes_the_tensor_that_pillow_makes(tmp_path, half, flip):
    """The bar of the data floor: pixels equal to Pillow's decoding, resizing, cropping and mirroring."""
    data = saved(Image.fromarray(noise(256, 512 if half is not None else 256)), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data)
    whole = Image.open(io.BytesIO(data))
    side = whole if half is None else whole.crop((256 * half, 0, 256 * half + 256, 256))
    side = side.resize((286, 286), Image.Resampling.BICUBIC)
    for seed in range(6):
        array = image_io.read(tmp_path / "a.jpg")
        array = array if half is None else array[:, :256] if half == 0 else array[:, 256:]
        augment = Augment(286, 256, flip=flip)
        made = to_tensor(array, lambda a: augment(a, np.random.RandomState(seed)), 3, "a.jpg")  # noqa: B023
        down, across, mirror = np.random.RandomState(seed).random_sample(3)
        top, left = int(down * 31), int(across * 31)
        cut = side.crop((left, top, left + 256, top + 256))
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip and mirror < 0.5 else cut
        expected = torch.from_numpy(np.array(cut)).permute(2, 0, 1).float() / 127.5 - 1
        assert torch.equal(made, expected)
        assert made.is_contiguous()
