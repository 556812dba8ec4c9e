"""`diptych.data.images.resample`: training images resized by torch, close to Pillow and equal on every machine."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import FUZZ, RNG, same, saved, shaped
from PIL import Image

from diptych.data.image_tensors import to_tensor
from diptych.data.images import image_io
from diptych.data.images.resample import resize
from diptych.data.images.transforms import Augment

FEW = settings(FUZZ, max_examples=25)
SIDES = st.integers(1, 130)
FILTERS = st.sampled_from(["bicubic", "bilinear"])


def noise(height, width, channels=3, extreme=False):
    """Bytes at random; only black and white if `extreme`, where the filter swings furthest past both."""
    made = RNG.integers(0, 256, (height, width, channels), np.uint8)
    return np.where(made > 127, np.uint8(255), np.uint8(0)) if extreme else made


@FEW
@given(SIDES, SIDES, st.sampled_from([1, 3]), st.booleans(), FILTERS)
def test_torch_differs_from_pillow_by_two_levels_at_most(size, new, channels, extreme, filter_name):
    array = noise(size, size, channels, extreme)
    made = resize(array, new, new, filter_name, "torch").astype(int)
    assert np.abs(made - image_io.resize(array, new, new, filter_name)).max() <= 2


@pytest.mark.parametrize(("size", "new"), [(256, 286), (512, 286), (64, 72), (178, 128)])
def test_few_values_of_a_picture_differ(size, new):
    coarse = image_io.resize(noise(8, 8), size, size)
    array = np.clip(coarse.astype(int) + RNG.integers(-9, 10, coarse.shape), 0, 255).astype(np.uint8)
    differences = resize(array, new, new, "bicubic", "torch").astype(int) - image_io.resize(array, new, new)
    assert (differences != 0).mean() < 0.02


@FEW
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from([1, 2, 3, 4]), FILTERS)
def test_the_result_depends_on_the_pixels_alone(high, wide, height, width, channels, filter_name):
    """Not on threads, on the order of channels in memory, on other channels, or on how an array lies in memory."""
    array = noise(high, wide, channels)
    made = resize(array, height, width, filter_name, "torch")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        same(resize(array, height, width, filter_name, "torch"), made)
    finally:
        torch.set_num_threads(threads)
    mirrored = np.ascontiguousarray(array[:, ::-1])[:, ::-1]
    planes = np.ascontiguousarray(array.transpose(2, 0, 1)).transpose(1, 2, 0)
    planes.flags.writeable = False
    for stored in (mirrored, planes):
        same(resize(stored, height, width, filter_name, "torch"), made)
    for channel in range(channels):
        alone = resize(array[..., channel : channel + 1], height, width, filter_name, "torch")
        same(alone[..., 0], made[..., channel])


@pytest.mark.parametrize("resampler", ["torch", "pillow"])
def test_other_images_are_resized_by_pillow(resampler):
    for dtype in ("uint16", "float32"):
        array = shaped(3, dtype)
        same(resize(array, 9, 5, "bicubic", resampler), image_io.resize(array, 9, 5))
    array = noise(9, 9)
    assert resize(array, 9, 9, "bicubic", resampler) is array
    same(resize(array, 5, 7, "bilinear", "pillow"), image_io.resize(array, 5, 7, "bilinear"))


@pytest.mark.parametrize("half", [None, 0, 1])
@pytest.mark.parametrize("flip", [False, True])
def test_with_pillow_a_file_becomes_the_tensor_of_the_public_code(tmp_path, half, flip):
    """Pixels equal to Pillow's decoding, resizing, cropping and mirroring; runs of earlier versions had them."""
    data = saved(Image.fromarray(noise(256, 512 if half is not None else 256)), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data)
    whole = Image.open(io.BytesIO(data))
    side = whole if half is None else whole.crop((256 * half, 0, 256 * half + 256, 256))
    side = side.resize((286, 286), Image.Resampling.BICUBIC)
    for seed in range(6):
        array = image_io.read(tmp_path / "a.jpg")
        array = array if half is None else array[:, :256] if half == 0 else array[:, 256:]
        augment = Augment(286, 256, flip=flip, resampler="pillow")
        made = to_tensor(array, lambda a: augment(a, np.random.RandomState(seed)), 3, "a.jpg")  # noqa: B023
        down, across, mirror = np.random.RandomState(seed).random_sample(3)
        top, left = int(down * 31), int(across * 31)
        cut = side.crop((left, top, left + 256, top + 256))
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip and mirror < 0.5 else cut
        expected = torch.from_numpy(np.array(cut)).permute(2, 0, 1).float() / 127.5 - 1
        assert torch.equal(made, expected)
        assert made.is_contiguous()
