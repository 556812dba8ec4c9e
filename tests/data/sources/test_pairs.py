"""What a folder of images means: every layout, what is held out of training, and what is refused with which words."""

import re

import numpy as np
import pytest
from material import folder_of
from PIL import Image

from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.images import image_io
from diptych.data.open import open_data
from diptych.errors import DataError

PAIRED, UNPAIRED = ("source", "target"), ("a", "b")
KIND = {PAIRED: DataKind.PAIRED, UNPAIRED: DataKind.UNPAIRED}
TWO_FOLDERS = {"trainA": ("{}A", "{}B"), "A/train": ("A/{}", "B/{}"), "train/x": ("{}/cats", "{}/dogs")}
HELD = ["010", "012", "019", "027", "031", "071", "073"]  # of 000 to 099, by their names alone


def picture(value, channels=3, width=8, height=8):
    return np.full((height, width, channels), value, np.uint8)


def fill(folder, values, channels=3, suffix=".png", width=8):
    """Pictures 000, 001, ... of one value each, and what must not be taken for pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, value in enumerate(values):
        image_io.write(folder / f"{number:03}{suffix}", picture(value, channels, width))
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_bytes(b"not an image")


def fill_side_by_side(folder, left, right, channels=3, suffix=".png"):
    fill(folder, [], channels)
    for number, (a, b) in enumerate(zip(left, right, strict=True)):
        image_io.write(folder / f"{number:03}{suffix}", np.concatenate([picture(a, channels), picture(b, channels)], 1))


def opened(root, names=PAIRED, **settings):
    return open_data(DataConfig(root=str(root), **settings), KIND[names], names)


def values(split):
    """What stands in the pictures of each column, by its name."""
    return {name: [int(picture.mean()) for picture in column] for name, column in split.columns.items()}


def stems(split):
    return {name: [file.stem for file in column.files] for name, column in split.columns.items()}


def refused(root, *words, names=PAIRED, **settings):
    with pytest.raises(DataError) as caught:
        opened(root, names, **settings)
    for word in words:
        assert word in str(caught.value)


# ------------------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
@pytest.mark.parametrize("names", [PAIRED, UNPAIRED])
@pytest.mark.parametrize("layout", [*TWO_FOLDERS, "side by side"])
def test_every_layout_with_splits(tmp_path, layout, names, direction):
    sides = {"train": ([1, 2, 3], [101, 102, 103]), "val": ([11, 12], [111, 112]), "test": ([21], [121])}
    for split, (a, b) in sides.items():
        if layout == "side by side":
            fill_side_by_side(tmp_path / split, a, b)
        else:
            for folder, side in zip(TWO_FOLDERS[layout], (a, b), strict=True):
                fill(tmp_path / folder.format(split), side)
    data = opened(tmp_path, names, direction=direction)
    for split, found in {"train": data.train, "val": data.held_out, "test": data.test}.items():
        expected = sides[split] if direction == "a2b" else sides[split][::-1]
        assert values(found) == dict(zip(names, expected, strict=True))
        assert len(found) == len(expected[0])
        assert all(picture.shape == (8, 8, 3) for column in found.columns.values() for picture in column)
    assert data.train.aligned == (names == PAIRED)
    assert data.held_out.aligned == data.test.aligned == (names == PAIRED or layout == "side by side")
    assert data.notes == ()
    assert str(tmp_path) in data.summary
    assert "2 in val" in data.summary


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
@pytest.mark.parametrize("names", [PAIRED, UNPAIRED])
def test_two_folders_of_any_name(tmp_path, names, direction):
    for name, side in (("photos", range(100)), ("drawings", range(100, 200))):
        fill(tmp_path / name, side)
    data = opened(tmp_path, names, direction=direction)
    first, second = ("drawings", "photos") if direction == "a2b" else ("photos", "drawings")
    assert [column.files[0].parent.name for column in data.train.columns.values()] == [first, second]
    assert list(data.train.columns) == list(names)
    assert data.train.aligned == (names == PAIRED)
    assert stems(data.held_out) == dict.fromkeys(names, HELD)


def test_pictures_side_by_side_without_any_folder(tmp_path):
    fill_side_by_side(tmp_path, [1, 2], [101, 102])
    assert values(opened(tmp_path).train) == {"source": [1, 2], "target": [101, 102]}


@pytest.mark.parametrize("ours", [1, 3, 5])
@pytest.mark.parametrize("theirs", [1, 3, 5])
def test_channels_of_either_side_and_pairs_across_suffixes(tmp_path, ours, theirs):
    for folder, channels, suffix, start in (("trainA", ours, ".png", 1), ("trainB", theirs, ".bmp", 101)):
        fill(tmp_path / folder, range(start, start + 3), channels, ".npy" if channels == 5 else suffix)
    data = opened(tmp_path)
    assert values(data.train) == {"source": [1, 2, 3], "target": [101, 102, 103]}
    assert [column[0].shape[2] for column in data.train.columns.values()] == [ours, theirs]


@pytest.mark.parametrize("channels", [1, 5])
def test_channels_side_by_side(tmp_path, channels):
    fill_side_by_side(tmp_path / "train", [1, 2], [101, 102], channels, ".npy")
    data = opened(tmp_path)
    assert values(data.train) == {"source": [1, 2], "target": [101, 102]}
    assert data.train.columns["target"][1].shape == (8, 8, channels)


def test_grey_among_colour_is_read_as_it_is(tmp_path):
    for folder in ("trainA", "trainB"):
        fill(tmp_path / folder, [1, 2])
    image_io.write(tmp_path / "trainA" / "001.png", picture(7, channels=1))
    assert [p.shape[2] for p in opened(tmp_path).train.columns["source"]] == [3, 1]


def test_pairs_are_found_by_name_and_not_by_place(tmp_path):
    for folder, start, suffix in (("trainA", 0, ".png"), ("trainB", 100, ".bmp")):
        for value, stem in enumerate(["a", "a.c", "10", "9"]):
            image_io.write(tmp_path / folder / f"{stem}{suffix}", picture(start + value))
    ours, theirs = (sorted(file.name for file in (tmp_path / folder).glob("a*")) for folder in ("trainA", "trainB"))
    assert (ours, theirs) == (["a.c.png", "a.png"], ["a.bmp", "a.c.bmp"])  # in order of the files, they would not match
    assert values(opened(tmp_path).train) == {"source": [2, 3, 1, 0], "target": [102, 103, 101, 100]}


def test_heaps_of_unequal_size(tmp_path):
    for folder, count in (("trainA", 3), ("trainB", 5), ("testA", 2), ("testB", 1)):
        fill(tmp_path / folder, range(count))
    data = opened(tmp_path, UNPAIRED)
    assert values(data.train) == {"a": [0, 1, 2], "b": [0, 1, 2, 3, 4]}
    assert not data.train.aligned
    assert len(data.train) == 5
    assert "3 + 5 unpaired images" in data.summary


def test_odd_widths_side_by_side_where_the_user_is_sure(tmp_path):
    array = np.concatenate([picture(1, width=5), picture(50, width=1), picture(101, width=5)], 1)
    image_io.write(tmp_path / "train" / "a.png", array)
    refused(tmp_path, "a.png: 11x8", "layout=side_by_side")
    data = opened(tmp_path, layout="side_by_side")
    assert values(data.train) == {"source": [1], "target": [101]}


def test_a_layout_that_is_named_wins(tmp_path):
    fill_side_by_side(tmp_path / "train", [1], [101])
    for folder, value in (("trainA", 5), ("trainB", 105)):
        fill(tmp_path / folder, [value])
    assert values(opened(tmp_path, layout="folders").train) == {"source": [5], "target": [105]}
    assert values(opened(tmp_path, layout="side_by_side").train) == {"source": [1], "target": [101]}


# ------------------------------------------------------------------------------------------------------------ held out


@pytest.mark.parametrize(("splits", "held_out"), [(["val", "test"], "val"), (["test"], "test"), (["val"], "val")])
def test_validation_is_preferred_to_test(tmp_path, splits, held_out):
    for value, split in enumerate(["train", *splits]):
        fill_side_by_side(tmp_path / split, [value], [100 + value])
    data = opened(tmp_path)
    assert {file.parent.name for file in data.held_out.columns["source"].files} == {held_out}
    assert f"1 in {held_out}" in data.summary
    assert (data.test is None) == ("test" not in splits)


@pytest.mark.parametrize("names", [PAIRED, UNPAIRED])
@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_without_splits_the_names_decide_what_is_held_out(tmp_path, names, suffix):
    """By the name before the suffix and by nothing else, so that it is the same on every machine."""
    for folder, count in (("x", 100), ("y", 100 if names == PAIRED else 60)):
        fill(tmp_path / folder, range(count), suffix=suffix)
    data = opened(tmp_path, names)
    train, held_out = stems(data.train), stems(data.held_out)
    assert held_out == {names[0]: HELD, names[1]: HELD if names == PAIRED else [s for s in HELD if s < "060"]}
    for name, count in zip(names, (100, 100 if names == PAIRED else 60), strict=True):
        assert sorted(train[name] + held_out[name]) == [f"{n:03}" for n in range(count)]
    assert "7 of 100 are held out" in data.notes[0]
    assert data.train.aligned == data.held_out.aligned == (names == PAIRED)


@pytest.mark.parametrize("names", [PAIRED, UNPAIRED])
def test_the_truth_of_held_out_images_stays_known_without_splits_too(tmp_path, names):
    fill_side_by_side(tmp_path / "train", range(100), range(100, 200))
    data = opened(tmp_path, names)
    assert stems(data.held_out) == dict.fromkeys(names, HELD)
    assert (data.train.aligned, data.held_out.aligned) == (names == PAIRED, True)
    assert len(data.train) == 93


@pytest.mark.parametrize("names", [PAIRED, UNPAIRED])
def test_too_few_images_to_hold_any_out(tmp_path, names):
    fill_side_by_side(tmp_path / "train", [1, 2], [101, 102])
    data = opened(tmp_path, names)
    assert values(data.held_out) == values(data.train) == {names[0]: [1, 2], names[1]: [101, 102]}
    assert (data.train.aligned, data.held_out.aligned) == (names == PAIRED, True)
    assert "seen in training" in data.notes[0]


@pytest.mark.parametrize("only", [HELD[0], "000"])
def test_a_side_is_never_left_empty_by_holding_out(tmp_path, only):
    image_io.write(tmp_path / "x" / f"{only}.png", picture(1))
    fill(tmp_path / "y", range(100))
    data = opened(tmp_path, UNPAIRED)
    assert [len(column) for column in data.train.columns.values()] == [1, 100]
    assert [len(column) for column in data.held_out.columns.values()] == [1, 100]


# ------------------------------------------------------------------------------------------------------------- refused


def test_a_folder_that_is_missing(tmp_path):
    refused(tmp_path / "nowhere", f"{tmp_path / 'nowhere'} is not a folder", "glyphs")
    (tmp_path / "file.png").touch()
    refused(tmp_path / "file.png", "is not a folder")


@pytest.mark.parametrize("names", [PAIRED, UNPAIRED])
@pytest.mark.parametrize("layout", ["trainA", "A/train"])
def test_a_side_without_images(tmp_path, layout, names):
    full, empty = (tmp_path / folder.format("train") for folder in TWO_FOLDERS[layout])
    fill(full, [1])
    fill(empty, [])
    refused(tmp_path, f"{empty}: no images in it", ".png", names=names)


def test_partners_that_are_missing(tmp_path):
    for folder, numbers in (("trainA", range(2, 12)), ("trainB", range(4, 13))):
        for number in numbers:
            image_io.write(tmp_path / folder / f"{number:02}.png", picture(number))
    refused(tmp_path, "3 images have no partner", "trainA", "trainB", ": 02, 03, 12. ")
    for number in range(20, 26):
        image_io.write(tmp_path / "trainA" / f"{number}.png", picture(number))
    refused(tmp_path, "9 images have no partner", ": 02, 03, 12, 20, 21, and 4 more")
    assert len(opened(tmp_path, UNPAIRED).train) == 16


def test_a_missing_partner_of_a_held_out_image(tmp_path):
    for folder, count in (("trainA", 2), ("trainB", 2), ("valA", 2), ("valB", 1)):
        fill(tmp_path / folder, range(count))
    refused(tmp_path, "1 images have no partner", "valA", ": 001")


def test_two_files_of_one_name_before_the_suffix(tmp_path):
    for folder in ("trainA", "trainB"):
        fill(tmp_path / folder, [1, 2])
    image_io.write(tmp_path / "trainB" / "001.bmp", picture(3))
    refused(tmp_path, str(tmp_path / "trainB" / "001.bmp"), "same name before the suffix")
    assert len(opened(tmp_path, UNPAIRED).train) == 3


@pytest.mark.parametrize("names", [PAIRED, UNPAIRED])
def test_single_pictures_are_not_taken_for_two(tmp_path, names):
    fill(tmp_path / "train", [1, 2], width=12)
    file = tmp_path / "train" / "000.png"
    refused(tmp_path, f"{file}: 12x8", "layout=side_by_side", "trainA/ and trainB/", names=names)


def test_nothing_is_found(tmp_path):
    everything = ("no images to train on", "trainA/ and trainB/", "A/train", "side by side", ".npy")
    refused(tmp_path, *everything)
    fill(tmp_path / "train" / "x", [1])
    refused(tmp_path, *everything)  # one folder is not two
    for name in ("y", "z"):
        fill(tmp_path / "train" / name, [1])
    refused(tmp_path, *everything)  # nor are three
    fill(tmp_path / "testA", [1])
    refused(tmp_path, *everything)  # and nothing to train on


def test_nothing_is_found_in_the_layout_that_was_named(tmp_path):
    fill_side_by_side(tmp_path / "one" / "train", [1], [101])
    refused(tmp_path / "one", "no images to train on", layout="folders")
    for folder in ("trainA", "trainB"):
        fill(tmp_path / "two" / folder, [1])
    refused(tmp_path / "two", "no images to train on", layout="side_by_side")


# ----------------------------------------------------------------------------------------------------------- real sets


REAL = [
    ("facades", PAIRED, 400, 100, 106, 256),
    ("facades", UNPAIRED, 400, 100, 106, 256),
    ("retina_vessels", PAIRED, 35, 3, 16, 512),
    ("brooklyn1887", PAIRED, 101, 18, 18, 256),
    ("brooklyn1887", UNPAIRED, 101, 18, 18, 256),
    ("cityscapes", PAIRED, 300, 50, None, 256),
    ("maps", PAIRED, 350, 40, 40, 256),
    ("edges2shoes", PAIRED, 400, 80, None, 256),
]
HEAPS = [("horse2zebra", [300, 300], [50, 60], 256), ("afhq", [1000, 1000], [150, 150], 128)]


@pytest.mark.parametrize(("name", "names", "train", "held_out", "test", "size"), REAL)
def test_real_pairs(name, names, train, held_out, test, size):
    root = folder_of("DIPTYCH_DATA", "shared/data") / name
    data = opened(root, names)
    assert (len(data.train), len(data.held_out), data.test and len(data.test)) == (train, held_out, test)
    assert (data.train.aligned, data.held_out.aligned) == (names == PAIRED, True)
    counts = f"{train} pairs" if names == PAIRED else rf"{train} \+ {train} unpaired images"
    assert re.fullmatch(rf"{root}: {counts}, {held_out} in (val|test)", data.summary)
    for split in (data.train, data.held_out):
        left, right = split.columns.values()
        assert list(split.columns) == list(names)
        assert left.files == right.files
        whole = np.asarray(Image.open(left.files[-1]).convert("RGB"))
        np.testing.assert_array_equal(left[-1], whole[:, :size])
        np.testing.assert_array_equal(right[-1], whole[:, size:])


@pytest.mark.parametrize(("name", "train", "held_out", "size"), HEAPS)
def test_real_heaps(name, train, held_out, size):
    data = opened(folder_of("DIPTYCH_DATA", "shared/data") / name, UNPAIRED)
    for split, counts in ((data.train, train), (data.held_out, held_out)):
        assert list(split.columns) == list(UNPAIRED)
        assert not split.aligned
        assert [len(column) for column in split.columns.values()] == counts
        assert [column[-1].shape for column in split.columns.values()] == [(size, size, 3)] * 2
    first, second = (column.files[0].parent.name for column in data.train.columns.values())
    assert (first, second) in (("trainA", "trainB"), ("cat", "dog"))
