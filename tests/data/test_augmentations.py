"""Augmentations beside crop and flip: images of a pair are transformed alike, and `augment=` is deterministic."""

import random

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from diptych.data.batches import Batches
from diptych.data.config import DataConfig
from diptych.data.dataset import Split
from diptych.data.images.transforms import Augment
from diptych.data.sample_transform import SampleTransform, seeded
from diptych.errors import ConfigError, DataError
from diptych.settings.validate import checked


def images(count=4, channels=3, size=16):
    return np.random.RandomState(0).randint(40, 200, (count, size, size, channels), dtype=np.uint8)


def batches(augment, transform=None, target=None, **options):
    source = images()
    columns = {"source": source, "target": source.copy() if target is None else target}
    split = Split(columns, aligned=True)
    channels = {name: column.shape[-1] for name, column in columns.items()}
    wrapped = SampleTransform(transform) if transform else None
    return Batches(split, channels, augment, 4, transform=wrapped, **options)


@pytest.mark.parametrize(
    "settings", [{"rotate90": True}, {"color_jitter": 0.5}, {"random_scale": (0.5, 2.0)}, {"flip": True}]
)
def test_images_of_a_pair_are_transformed_alike(settings):
    plain = batches(Augment(16, 16, flip=False))[0]
    batch = batches(Augment(16, 16, **{"flip": False, **settings}))[0]
    assert torch.equal(batch["source"], batch["target"])
    assert not torch.equal(batch["source"], plain["source"])


def test_all_off_is_as_before():
    off = Augment(18, 16, "squash", True, "random", False, 0.0, None)
    assert torch.equal(batches(off)[3]["source"], batches(Augment(18, 16))[3]["source"])
    assert Augment(16, 16, flip=False).is_deterministic
    assert not Augment(16, 16, flip=False, rotate90=True).is_deterministic
    assert not Augment(16, 16, flip=False, color_jitter=0.1).is_deterministic


def test_rotation_is_by_quarter_turns():
    array = images()[0]
    seen = {
        next(k for k in range(4) if np.array_equal(np.rot90(array, k), turned))
        for turned in (
            Augment(16, 16, flip=False, rotate90=True)(array, np.random.RandomState(seed)) for seed in range(30)
        )
    }
    assert seen == {0, 1, 2, 3}


def test_colour_jitter_keeps_class_ids_and_alpha():
    augment = Augment(16, 16, flip=False, color_jitter=1.0)
    ids = np.random.RandomState(0).randint(0, 5, (16, 16, 1)).astype(np.int32)
    assert np.array_equal(augment(ids, np.random.RandomState(1)), ids)
    rgba = images(channels=4)[0]
    jittered = augment(rgba, np.random.RandomState(1))
    assert np.array_equal(jittered[..., 3], rgba[..., 3])
    assert not np.array_equal(jittered[..., :3], rgba[..., :3])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_colour_jitter_keeps_the_dtype(dtype):
    array = images()[0]
    array = (array / 255).astype(dtype) if dtype is np.float32 else array.astype(dtype)
    jittered = Augment(16, 16, flip=False, color_jitter=1.0)(array, np.random.RandomState(3))
    assert jittered.dtype == dtype
    assert jittered.max() <= (1 if dtype is np.float32 else np.iinfo(dtype).max)


def test_brightness_by_hand():
    """Of a grey image contrast leaves the mean, and only brightness moves it."""
    array = np.full((16, 16, 1), 100, np.uint8)
    dice = np.random.RandomState(5)
    dice.random_sample(3)  # position and flip
    factor = 1 + 0.4 * (2 * dice.random_sample(3)[0] - 1)
    jittered = Augment(16, 16, flip=False, color_jitter=0.4)(array, np.random.RandomState(5))
    assert (jittered == round(100 * factor)).all()


def test_scale_never_cuts_below_the_crop():
    array = images(size=20)[0]
    for seed in range(20):
        assert Augment(20, 16, random_scale=(0.1, 0.2))(array, np.random.RandomState(seed)).shape == (16, 16, 3)


@pytest.mark.parametrize("value", [[0, 1], [2, 1], [1, 11]])
def test_a_scale_that_is_no_range(value):
    with pytest.raises(ConfigError, match=r"random_scale=.*expected \[LOW,HIGH\]"):
        checked(DataConfig, {"root": "x", "random_scale": value}, "data")


def test_transforms_of_torchvision_are_joint():
    transform = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomRotation(30), v2.ColorJitter(0.5, 0.5)])
    plain = batches(Augment(16, 16, flip=False))[0]
    batch = batches(Augment(16, 16, flip=False), transform)[0]
    assert torch.equal(batch["source"], batch["target"])
    assert not torch.equal(batch["source"], plain["source"])


def test_label_maps_are_masks():
    seen = []

    def keep(sample):
        seen.append({name: (type(value), value.dtype, tuple(value.shape)) for name, value in sample.items()})
        return sample

    ids = np.random.RandomState(0).randint(0, 3, (4, 16, 16, 1)).astype(np.int32)
    loaded = batches(Augment(16, 16, flip=False), keep, target=ids)
    sample = loaded._transformed([{"source": (0, images()[0]), "target": (0, ids[0])}], 0, loaded.transform)
    assert seen == [
        {
            "source": (tv_tensors.Image, torch.uint8, (3, 16, 16)),
            "target": (tv_tensors.Mask, torch.int32, (1, 16, 16)),
        }
    ]
    assert np.array_equal(sample[0]["target"][1], ids[0])


def noisy(sample):
    """Draws from all three global generators."""
    shift = int(torch.randint(0, 50, ())) + np.random.randint(50) + random.randint(0, 50)
    return {name: (value.int() * shift % 256).to(torch.uint8) for name, value in sample.items()}


def test_a_sample_is_the_same_each_time_and_global_generators_stay():
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first = batches(Augment(16, 16), noisy)[2]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]
    torch.manual_seed(2), np.random.seed(2), random.seed(2)
    again = batches(Augment(16, 16), noisy)
    assert torch.equal(again[2]["source"], first["source"])
    assert not torch.equal(again[3]["source"], first["source"])
    assert not torch.equal(batches(Augment(16, 16), noisy, seed=1)[2]["source"], first["source"])


def test_workers_give_the_same_batches():
    loaded = batches(Augment(16, 16), noisy)
    direct = [loaded[step] for step in range(3)]
    for ours, theirs in zip(loaded.stream(0, 3, workers=2), direct, strict=True):
        assert torch.equal(ours["source"], theirs["source"])


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda sample: 1 / 0, r"failed on image \d, image \d|failed on image \d .ZeroDivisionError"),
        (lambda sample: sample["source"], "expected a dict with source, target"),
        (lambda sample: {"source": sample["source"]}, r"expected a dict with source, target, got \['source'\]"),
        (
            lambda sample: {**sample, "target": sample["target"][:1]},
            r"expected a tensor \(3, H, W\), got .*\(1, 16, 16\)",
        ),
        (lambda sample: {**sample, "target": sample["target"].int()}, "expected uint8 or float within 0..1, got int32"),
        (lambda sample: {**sample, "target": sample["target"] * 1.0}, "0..1"),
    ],
)
def test_what_a_transform_does_wrong_is_named(transform, message):
    with pytest.raises(DataError, match=message):
        batches(Augment(16, 16), transform)[0]


def test_names_of_transforms_are_the_same_in_another_process():
    assert str(SampleTransform(v2.RandomHorizontalFlip(0.3))) == "RandomHorizontalFlip(p=0.3)"
    assert str(SampleTransform(noisy)) == f"{noisy.__module__}.noisy"


def test_seeded_is_by_place():
    with seeded(0, "train", 3):
        one = torch.rand(2), np.random.rand(2)
    with seeded(0, "train", 3):
        assert torch.equal(torch.rand(2), one[0])
        assert np.array_equal(np.random.rand(2), one[1])
