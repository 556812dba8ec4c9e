"""Batches as a pure function of their place, how ranks and micro-batches share them, and the crops in them."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.contract import DataKind
from diptych.data.batches import Batches, epoch_order
from diptych.data.config import DataConfig
from diptych.data.dataset import Split
from diptych.data.image_columns import ImageFiles
from diptych.data.image_tensors import held_out_batch
from diptych.data.images import image_io
from diptych.data.images.transforms import Augment, resized_size
from diptych.data.open import open_data
from diptych.errors import ConfigError, DataError, ImageError

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (7, 20, 20, 3), np.uint8)
PLAIN = np.arange(7, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2)  # each of one value, its number
CUT, WHOLE = Augment(24, 16), Augment(8, 8)
SIDES = st.integers(1, 40)
FEW = settings(deadline=None, max_examples=60)


def columns(first, second, aligned=True):
    return Split({"a": first, "b": second}, aligned)


def batches(split=columns(NOISE, NOISE), augment=CUT, channels=3, **over):  # noqa: B008
    return Batches(split, dict.fromkeys(split.columns, channels), augment, **{"size": 4, **over})


def counted(lengths=(7, 7), aligned=True, **over):
    """Batches of pictures that show their own number."""
    return batches(columns(*(PLAIN[:length] for length in lengths), aligned), WHOLE, channels=1, **over)


def numbers(batch, name="a"):
    """The numbers that pictures show."""
    return ((batch[name][:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def same(left, right):
    assert list(left) == list(right)
    return all(torch.equal(left[name], right[name]) for name in left)


# ------------------------------------------------------------------------------------------------------------- batches


@settings(FEW, max_examples=15)
@given(st.permutations(range(5)))
def test_a_batch_depends_on_nothing_but_its_step(steps):
    fresh = {step: batches()[step] for step in range(5)}
    used = batches()
    epoch_order.cache_clear()
    np.random.seed(steps[0])
    assert all(same(used[step], fresh[step]) for step in [*steps, *steps])


@pytest.mark.parametrize("change", [{"seed": 1}, {"stage": "decay"}])
def test_seed_and_stage_change_order_and_crops(change):
    assert [numbers(counted()[n]) for n in range(3)] != [numbers(counted(**change)[n]) for n in range(3)]
    alone = columns(NOISE[:1], NOISE[:1])
    assert not same(batches(alone)[0], batches(alone, **change)[0])
    assert not same(batches(alone)[0], batches(alone)[1])


@pytest.mark.parametrize("start", [0, 3])
def test_workers_change_nothing(start):
    expected = [batches()[step] for step in range(start, 9)]
    for workers in (0, 2):
        made = list(batches().stream(start, 9, workers))
        assert len(made) == len(expected)
        assert all(map(same, made, expected))


def test_an_epoch_visits_each_sample_once_and_batches_span_epochs():
    seen = [number for step in range(21) for number in numbers(counted(size=3)[step])]
    epochs = [seen[place : place + 7] for place in range(0, 63, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 5


def test_columns_without_pairs_have_epochs_of_their_own():
    made = [counted((7, 4), aligned=False, size=3)[step] for step in range(28)]
    for name, length in (("a", 7), ("b", 4)):
        seen = [number for batch in made for number in numbers(batch, name)]
        assert all(sorted(seen[at : at + length]) == list(range(length)) for at in range(0, 84, length))
    equal = [counted(aligned=False, size=7)[step] for step in range(3)]
    assert all(numbers(batch, "a") != numbers(batch, "b") for batch in equal)
    assert all(numbers(counted(size=7)[step], "a") == numbers(counted(size=7)[step], "b") for step in range(3))


@FEW
@given(
    share=st.integers(1, 4),
    micro=st.integers(1, 4),
    world=st.integers(1, 4),
    step=st.integers(0, 9),
    aligned=st.booleans(),
)
def test_ranks_and_micro_batches_share_a_batch_in_order(share, micro, world, step, aligned):
    whole = counted((7, 7 if aligned else 5), aligned, size=share * micro * world)
    ranks = [replace(whole, grad_accum_steps=micro, world=world, rank=rank)[step] for rank in range(world)]
    for name in ("a", "b"):
        parts = [rank[name].split(share) for rank in ranks]
        assert all(len(part) == micro for part in parts)
        together = torch.cat([part[number] for number in range(micro) for part in parts])
        assert torch.equal(together, whole[step][name])


@pytest.mark.parametrize(("size", "micro", "world"), [(6, 4, 1), (6, 1, 4), (6, 2, 2), (1, 2, 1)])
def test_a_batch_that_cannot_be_shared_is_refused(size, micro, world):
    with pytest.raises(
        ConfigError, match=f"batch_size={size} is not a multiple of grad_accum_steps={micro} x {world} ranks"
    ):
        batches(size=size, grad_accum_steps=micro, world=world)


def test_pairs_are_cut_alike_and_heaps_are_not():
    for step in range(5):
        batch = batches()[step]
        assert torch.equal(batch["a"], batch["b"])
    alone = batches(columns(NOISE[:1], NOISE[:1], aligned=False), size=8)[0]
    assert sum(torch.equal(*pair) for pair in zip(alone["a"], alone["b"], strict=True)) < 4


# -------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_values_are_float32_between_black_and_white(dtype):
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    array = np.zeros((1, 8, 8, 1), dtype)
    array[:, :, 4:] = top
    for augment in (WHOLE, Augment(11, 8), Augment(8, 8, "none")):
        tensor = batches(columns(array, array), augment, channels=1)[0]["a"]
        assert (tensor.dtype, tensor.shape, tensor.is_contiguous()) == (torch.float32, (4, 1, 8, 8), True)
        assert (tensor.min(), tensor.max()) == (-1, 1)


@pytest.mark.parametrize("augment", [WHOLE, Augment(13, 8), Augment(8, 8, "none"), Augment(9, 8, "short_side")])
def test_16_bits_stay_16_bits(augment):
    array = np.full((1, 9, 9, 1), 40001, np.uint16)
    tensor = batches(columns(array, array), augment, channels=1)[0]["a"]
    assert float((tensor - (2 * 40001 / 65535 - 1)).abs().max()) < 1e-6


@pytest.mark.parametrize("also", [(), (columns(NOISE[:5], NOISE[:3], aligned=False),)])
def test_in_the_last_share_of_the_steps_nothing_is_cut(also):
    """As in the decaying half of CUT's public code."""
    cut, whole, settling = (
        batches(
            columns(NOISE, NOISE, aligned=False), Augment(load, 16), extra_splits=also, random_crop_until=until
        ).for_stage("train", 9)
        for load, until in ((24, 1), (16, 1), (24, 0.5))
    )
    assert all(same(settling[step], cut[step]) for step in range(5))
    assert all(same(settling[step], whole[step]) for step in range(5, 9))
    assert not any(same(cut[step], whole[step]) for step in range(9))


def test_channels_are_made_equal_per_column():
    mixed = [np.full((8, 8, channels), 77, np.uint8) for channels in (1, 3, 1)]
    split = columns(mixed, [np.full((8, 8, 5), 9, np.uint8)] * 3)
    batch = Batches(split, {"a": 3, "b": 5}, WHOLE, size=3)[0]
    assert {name: tensor.shape for name, tensor in batch.items()} == {"a": (3, 3, 8, 8), "b": (3, 5, 8, 8)}
    assert numbers(batch) == [77] * 3
    with pytest.raises(ImageError, match="image 0: expected 3 channels, got 5"):
        held_out_batch(split, {"a": 3, "b": 3}, WHOLE, 1)


def test_labels_are_whole_numbers_in_step_with_their_pictures():
    split = Split({"image": PLAIN, "label": list(range(7))}, aligned=True)
    batch = Batches(split, {"image": 1}, WHOLE, size=5)[1]
    assert batch["label"].dtype == torch.int64
    assert batch["label"].tolist() == numbers(batch, "image")
    spread = held_out_batch(split, {"image": 1}, WHOLE, 3)
    assert spread["label"].tolist() == numbers(spread, "image") == [0, 3, 6]


# ------------------------------------------------------------------------------------------------------------ held out


def test_held_out_images_are_the_first_and_cut_without_chance():
    split = columns(NOISE, NOISE[::-1])
    first, again = (held_out_batch(split, {"a": 3, "b": 3}, CUT, 3) for _ in range(2))
    assert same(first, again)
    for name, column in split.columns.items():
        assert len(first[name]) == 3
        for tensor, array in zip(first[name], column, strict=False):
            np.testing.assert_array_equal(
                tensor.numpy(), image_io.to_unit(CUT.without_randomness(array)).transpose(2, 0, 1)
            )


def test_no_more_images_are_held_out_than_there_are():
    made = held_out_batch(columns(PLAIN, PLAIN[:5], aligned=False), {"a": 1, "b": 1}, WHOLE, 64)
    assert numbers(made, "a") == numbers(made, "b") == [0, 1, 2, 3, 4]


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_file_is_named_in_one_line_also_out_of_a_worker(tmp_path, workers):
    for number in range(4):
        image_io.write(tmp_path / "train" / f"{number}.png", NOISE[number].repeat(2, 1))
    bad = tmp_path / "train" / "2.png"
    bad.write_bytes(bad.read_bytes()[:-40])
    data = open_data(DataConfig(root=str(tmp_path)), DataKind.UNPAIRED)
    with pytest.raises(ImageError) as caught:
        list(batches(data.train).stream(0, 3, workers))
    assert str(caught.value).startswith(f"{bad}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_smaller_than_the_crop_is_named(tmp_path, workers):
    small = tmp_path / "small.png"
    image_io.write(small, NOISE[0, :12, :15])
    split = columns(ImageFiles((small,)), NOISE[:1])
    message = f"{small}: an image of 15x12 pixels is smaller than crop_size=16: "
    message += "use a smaller crop_size, or resize_mode=short_side"
    with pytest.raises(DataError) as caught:
        next(batches(split, Augment(24, 16, "none")).stream(0, 1, workers))
    assert str(caught.value) == message
    with pytest.raises(DataError) as caught:
        held_out_batch(split, {"a": 3, "b": 3}, Augment(24, 16, "none"), 1)
    assert str(caught.value) == message


# ---------------------------------------------------------------------------------------------------------- transforms


def places(height, width):
    """A picture in which each pixel holds its own place."""
    return np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), 2).astype(np.uint8)


@FEW
@given(height=SIDES, width=SIDES, data=st.data(), flip=st.booleans())
def test_a_crop_is_a_window_of_the_picture_or_its_mirror_image(height, width, data, flip):
    crop, seed = data.draw(st.integers(1, min(height, width))), data.draw(st.integers(0, 2**32 - 1))
    array = places(height, width)
    cut = Augment(crop, crop, "none", flip)(array, np.random.RandomState(seed))
    (top, left), mirrored = cut.min((0, 1)), cut[0, 0, 1] > cut[0, -1, 1]
    window = array[top : top + crop, left : left + crop]
    np.testing.assert_array_equal(cut, window[:, ::-1] if mirrored else window)
    assert flip or not mirrored


def test_every_window_is_cut_equally_often():
    array, augment = places(10, 11), Augment(8, 8, "none", flip=False)
    seen = Counter(tuple(augment(array, np.random.RandomState(seed))[0, 0].tolist()) for seed in range(1200))
    assert set(seen) == {(top, left) for top in range(3) for left in range(4)}
    assert 70 < min(seen.values()) <= max(seen.values()) < 130


def test_about_half_is_mirrored_unless_flip_is_off():
    array = places(8, 8)
    for flip, least, most in ((True, 450, 550), (False, 0, 0)):
        cuts = [Augment(8, 8, "none", flip)(array, np.random.RandomState(seed)) for seed in range(1000)]
        assert least <= sum(cut[0, 0, 1] == 7 for cut in cuts) <= most


def test_equal_generators_cut_equally_whatever_the_picture():
    array = places(20, 30)
    for seed in range(20):
        deep, plain = (CUT(a, np.random.RandomState(seed)) for a in (array.astype(np.uint16) * 257, array))
        assert deep.dtype == np.uint16
        np.testing.assert_allclose(deep / 257, plain, atol=1)


@FEW
@given(height=SIDES, width=SIDES, crop=st.integers(1, 20), more=st.integers(0, 9), seed=st.integers(0, 99))
def test_shapes(height, width, crop, more, seed):
    size, array = crop + more, np.zeros((height, width, 3), np.uint8)
    assert resized_size(*array.shape[:2], size, crop, "squash") == (size, size)
    tall, wide = resized_size(*array.shape[:2], size, crop, "short_side")
    assert min(tall, wide) == size
    assert abs(max(tall, wide) - size * max(height, width) / min(height, width)) <= 0.5
    assert (tall >= wide) == (height >= width) or tall == wide
    for fit in ("squash", "short_side"):
        augment = Augment(size, crop, fit)
        assert (
            augment(array, np.random.RandomState(seed)).shape
            == augment.without_randomness(array).shape
            == (crop, crop, 3)
        )


@FEW
@given(height=SIDES, width=SIDES, crop=st.integers(1, 40))
def test_fit_none_takes_pictures_as_they_are_or_not_at_all(height, width, crop):
    array, augment = places(height, width), Augment(50, crop, "none")
    if min(height, width) < crop:
        for cut in (lambda: augment(array, np.random.RandomState(0)), lambda: augment.without_randomness(array)):
            with pytest.raises(DataError, match=f"{width}x{height} .* crop_size={crop}"):
                cut()
        return
    assert resized_size(*array.shape[:2], 50, crop, "none") == array.shape[:2]
    top, left = augment.without_randomness(array)[0, 0].tolist()
    assert abs(2 * top + crop - height) <= 1
    assert abs(2 * left + crop - width) <= 1


def test_a_still_picture_keeps_its_middle_and_is_never_mirrored():
    array = NOISE[0, :16]  # 16 high, 20 wide
    np.testing.assert_array_equal(Augment(24, 16, "none").without_randomness(array), array[:, 2:18])
    np.testing.assert_array_equal(Augment(24, 16, "short_side").without_randomness(array), array[:, 2:18])
    np.testing.assert_array_equal(Augment(24, 16).without_randomness(array), image_io.resize(array, 16, 16))


def test_images_are_loaded_larger_than_the_crop_as_in_the_paper_and_never_smaller():
    assert [DataConfig(root="x", crop_size=crop).effective_load_size for crop in (256, 32)] == [286, 36]
    assert DataConfig(root="x", crop_size=32, load_size=32).effective_load_size == 32
    with pytest.raises(ValueError, match="load_size=31 is smaller than crop_size=32"):
        DataConfig(root="x", crop_size=32, load_size=31)
