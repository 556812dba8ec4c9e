"""The cache of training images: the same batches with and without it, for any number of workers, within its limit."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import FUZZ

from diptych.data.batches import Batches
from diptych.data.checks.inspect_file import inspect_file
from diptych.data.checks.manifest import Entry
from diptych.data.dataset import Split
from diptych.data.image_cache import HEADER
from diptych.data.image_columns import ImageFiles
from diptych.data.images import image_io
from diptych.data.images.encoding import PLAIN, Encoding
from diptych.data.images.transforms import Augment
from diptych.data.sample_transform import SampleTransform

MIB = 2**20
AUGMENTS = {
    "squash": Augment(22, 16),
    "short_side": Augment(22, 16, "short_side", rotate90=True),
    "center_square": Augment(18, 16, "center_square", color_jitter=0.5),
    "none": Augment(22, 16, "none"),
    "random_scale": Augment(22, 16, random_scale=(0.8, 1.3)),
    "random_resized": Augment(22, 16, crop_mode="random_resized", interpolation="bilinear"),
    "pillow": Augment(22, 16, resampler="pillow"),
}


def column(folder, sizes, half=None, encoding=PLAIN, dtype=np.uint8, channels=3):
    rng, files = np.random.default_rng(len(sizes)), []
    folder.mkdir(exist_ok=True)
    for number, (height, width) in enumerate(sizes):
        files.append(folder / f"{number}.png")
        high = 3 if encoding.num_classes else np.iinfo(dtype).max
        image_io.write(files[-1], rng.integers(0, high, (height, width, channels)).astype(dtype))
    stamps = [file.stat() for file in files]
    entries = [Entry(str(f), s.st_size, s.st_mtime_ns, inspect_file(f)) for f, s in zip(files, stamps, strict=True)]
    return ImageFiles(tuple(files), half, tuple(entries), encoding)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    sizes = [(20, 50), (33, 40), (16, 70), (24, 32), (40, 64)]
    left, right = (column(root / "pairs", sizes, half) for half in (0, 1))
    deep = column(root / "deep", sizes[:4], None, Encoding((100, 30000), "uint16"), np.uint16)
    ids = column(root / "ids", sizes, None, Encoding(num_classes=3), channels=1)
    return (
        Split({"a": left, "b": right}, aligned=True),
        Split({"a": deep, "b": ids}, aligned=False),
    )


def stream(batches, workers=0, count=7):
    return [{name: each.clone() for name, each in batch.items()} for batch in batches.stream(0, count, workers)]


def same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("name", AUGMENTS)
def test_a_prepared_image_gives_the_same_result(name):
    augment, array = AUGMENTS[name], np.random.default_rng(1).integers(0, 256, (37, 53, 3), np.uint8)
    prepared = augment.prepare(array)
    assert prepared.shape[:2] == augment.prepared_size(37, 53)
    for seed in range(5):
        wanted = augment(array, np.random.RandomState(seed))
        assert np.array_equal(augment(prepared, np.random.RandomState(seed)), wanted)


@settings(FUZZ, max_examples=20)
@given(
    name=st.sampled_from(sorted(AUGMENTS)),
    until=st.sampled_from([0.0, 0.5, 1.0]),
    limit=st.sampled_from([1, 9_000, 40_000, MIB]),
    mixed=st.booleans(),
    transformed=st.booleans(),
)
def test_batches_are_the_same_with_the_cache(splits, name, until, limit, mixed, transformed):
    transform = SampleTransform(lambda images: {key: 255 - value for key, value in images.items()})
    plain = Batches(
        splits[0],
        {"a": 3, "b": 3},
        AUGMENTS[name],
        2,
        random_crop_until=until,
        extra_splits=(splits[0],) if mixed else (),
        transform=transform if transformed else None,
    ).for_stage("train", 4)
    cached = plain.with_cache(limit, 1)
    memory = next(iter(cached.cache.values())).memory
    assert len(memory.bytes) <= max(1, limit)
    wanted = stream(plain, count=4)
    for _ in range(2):  # filled, then read
        same(stream(cached, count=4), wanted)
    assert memory.bytes.any() == (memory.end > 2_000)


def test_every_encoding_and_two_workers(splits):
    plain = Batches(splits[1], {"a": 3, "b": 3}, AUGMENTS["squash"], 4)
    wanted = stream(plain, count=12)
    cached = plain.with_cache(MIB, 2)
    same(stream(cached, 2, 12), wanted)
    memory = next(iter(cached.cache.values())).memory
    assert memory.bytes.any(), "workers that are forked write into the memory of the training process"
    held = [images.get(index) is not None for images in cached.cache.values() for index in range(len(images.starts))]
    assert all(held)
    broken = replace(plain, split=Split({"a": splits[0].columns["a"], "b": splits[0].columns["b"]}, aligned=False))
    assert not all(torch.equal(x["a"], y["a"]) for x, y in zip(stream(broken, count=12), wanted, strict=True))


def test_images_are_read_once(splits, monkeypatch):
    cached = Batches(splits[1], {"a": 3, "b": 3}, AUGMENTS["squash"], 5).with_cache(MIB, 1)
    stream(cached)
    monkeypatch.setattr(image_io, "read", None)
    stream(cached)
    with pytest.raises(TypeError, match="not callable"):
        cached.with_cache(0, 1).load_batch(0, {})


def test_processes_that_are_started_anew_share_the_limit(splits):
    cached = Batches(splits[0], {"a": 3, "b": 3}, AUGMENTS["squash"], 5).with_cache(15_000, 3)
    stream(cached)
    other = pickle.loads(pickle.dumps(cached))
    memories = {id(images.memory): images.memory for images in other.cache.values()}
    assert [len(memory.bytes) for memory in memories.values()] == [5_000]
    assert not any(memory.bytes.any() for memory in memories.values())
    same(stream(other), stream(cached))


def test_both_images_of_a_pair_have_a_place_or_neither(splits):
    size = -(-(HEADER + 22 * 22 * 3) // HEADER) * HEADER
    cached = Batches(splits[0], {"a": 3, "b": 3}, AUGMENTS["squash"], 5).with_cache(4 * size + 5, 1)
    stream(cached)
    for images in cached.cache.values():
        assert [images.get(index) is not None for index in range(5)] == [True, True, False, False, False]


def test_without_scanned_files_there_is_no_cache():
    arrays = np.zeros((4, 24, 24, 3), np.uint8)
    assert not Batches(Split({"a": arrays}, aligned=False), {"a": 3}, AUGMENTS["squash"]).with_cache(MIB, 1).cache
