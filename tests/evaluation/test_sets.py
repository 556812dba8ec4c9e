"""`diptych.evaluation.metrics.image_sets`: files as batches of uint8, in order, and what cannot be one set is named."""

import threading

import numpy as np
import pytest
import torch
from judged import fill, noise

from diptych.data.images import image_io
from diptych.errors import EvaluationError, ImageError
from diptych.evaluation.metrics import image_sets
from diptych.evaluation.metrics.image_sets import check_same_shape, image_set


def planes(array):
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 100])
def test_batches_of_any_size_hold_all_files_in_order(tmp_path, size):
    files = fill(tmp_path, 7, shape=(6, 9, 3))
    found = image_set(files)
    assert (len(found), found.shape) == (7, (3, 6, 9))
    batches = list(found.batches(size))
    assert [len(batch) for batch in batches] == [min(size, 7 - first) for first in range(0, 7, size)]
    assert all(batch.dtype == torch.uint8 for batch in batches)
    expected = torch.stack([planes(noise(seed, (6, 9, 3))) for seed in range(7)])
    assert torch.equal(torch.cat(batches), expected)
    assert torch.equal(found.all(), expected)


def test_files_may_be_given_in_any_order_and_twice(tmp_path):
    files = fill(tmp_path, 3, shape=(4, 4, 3))
    order = [2, 0, 2, 1]
    shown = image_set([files[at] for at in order]).all()
    assert torch.equal(shown, torch.stack([planes(noise(at, (4, 4, 3))) for at in order]))


def test_no_more_than_two_batches_lie_in_memory(tmp_path, monkeypatch):
    """However many files there are: what was read and not asked for is bounded."""
    files, lock, read = fill(tmp_path, 40, shape=(4, 4, 3)), threading.Lock(), []
    plain = image_io.read

    def counted(file):
        with lock:
            read.append(file)
        return plain(file)

    monkeypatch.setattr(image_sets.image_io, "read", counted)
    batches = image_set(files).batches(4)
    for number in range(10):
        next(batches)
        assert 4 * (number + 1) <= len(read) <= 4 * (number + 3)
    assert sorted(read) == sorted(files)


def test_sixteen_bits_and_floats_come_to_the_nearest_of_eight(tmp_path):
    deep = np.array([[[0], [128], [129]], [[257 * 7], [257 * 200 + 100], [65535]]], np.uint16)
    image_io.write(tmp_path / "a.png", deep)
    assert image_set([tmp_path / "a.png"]).all().flatten().tolist() == [0, 0, 1, 7, 200, 255]
    np.save(tmp_path / "b.npy", (deep / 65535).astype(np.float32))
    assert image_set([tmp_path / "b.npy"]).all().flatten().tolist() == [0, 0, 1, 7, 200, 255]


def test_grey_stays_one_channel_and_arrays_keep_theirs(tmp_path):
    image_io.write(tmp_path / "grey.png", noise(0, (5, 4, 1)))
    np.save(tmp_path / "many.npy", noise(1, (5, 4, 7)))
    assert image_set([tmp_path / "grey.png"]).shape == (1, 5, 4)
    found = image_set([tmp_path / "many.npy"])
    assert torch.equal(found.all()[0], planes(noise(1, (5, 4, 7))))


@pytest.mark.parametrize(
    ("shape", "words"),
    [((6, 9, 1), "9x6 grey"), ((9, 6, 3), "6x9 RGB"), ((6, 10, 3), "10x6 RGB"), ((6, 9, 4), "with 4 channels")],
)
def test_what_is_not_alike_is_refused_by_the_names_of_two(tmp_path, shape, words):
    files = fill(tmp_path, 3, shape=(6, 9, 3))
    other = tmp_path / f"other.{'png' if shape[2] < 4 else 'npy'}"
    image_io.write(other, noise(0, shape))
    with pytest.raises(EvaluationError, match="different shapes") as caught:
        image_set([*files, other])
    assert f"{files[0]} is 9x6 RGB, {other} is " in str(caught.value)
    assert words in str(caught.value)


def test_two_sets_that_are_not_alike_are_refused_by_the_names_of_their_folders(tmp_path):
    one = image_set(fill(tmp_path / "one", 2, shape=(6, 9, 3)))
    check_same_shape(one, image_set(fill(tmp_path / "same", 1, shape=(6, 9, 3))))
    for shape, words in (((6, 9, 1), "9x6 grey"), ((9, 6, 3), "6x9 RGB")):
        with pytest.raises(EvaluationError, match=f"{tmp_path}/one are 9x6 RGB, those in {tmp_path}/x are {words}"):
            check_same_shape(one, image_set(fill(tmp_path / "x", 1, shape=shape)))


def test_none_at_all_is_refused():
    with pytest.raises(EvaluationError, match="no images to evaluate"):
        image_set([])


@pytest.mark.parametrize("kind", ["cut", "text", "gone"])
def test_a_damaged_file_is_named(tmp_path, kind):
    files = fill(tmp_path, 70, shape=(16, 16, 3))
    bad = files[50]
    if kind == "cut":
        bad.write_bytes(bad.read_bytes()[:-200])
    elif kind == "text":
        bad.write_text("no picture")
    else:
        bad.unlink()
    with pytest.raises(ImageError, match=r"050\.png"):
        image_set(files).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.0])
def test_values_that_are_no_pixels_are_named(tmp_path, value):
    files = fill(tmp_path, 2, suffix=".npy", shape=(4, 4, 1))
    array = np.zeros((4, 4, 1), np.float32)
    array[1, 2] = value
    np.save(files[1], array)
    with pytest.raises(ImageError, match=r"001\.npy"):
        image_set(files).all()
