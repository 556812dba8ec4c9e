"""The embedded letters: all there in all faces, split so that no look is on two sides, with the truth known."""

from itertools import combinations

import numpy as np
import pytest

from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.open import open_data
from diptych.data.sources import glyphs
from diptych.errors import DataError

FACES = glyphs.FACES
EVERY = pytest.mark.parametrize("face", FACES)
SIZES = pytest.mark.parametrize("size", [32, 64])


def split_of():
    """For each letter the split that it is in."""
    letters = glyphs.letters()
    return {letters[index]: name for name, where in glyphs.split_indices().items() for index in where}


def letters_shown(pictures, face, size=32):
    """For each picture the letters that look so in that face."""
    looks = {}
    for letter, picture in zip(glyphs.letters(), glyphs.render_letters(face, size), strict=True):
        looks.setdefault(picture.tobytes(), set()).add(letter)
    return [looks[picture.tobytes()] for picture in pictures]


def opened(root="glyphs", kind=DataKind.PAIRED, crop=32, names=(), **settings):
    return open_data(DataConfig(root=root, crop_size=crop, **settings), kind, names)


# ------------------------------------------------------------------------------------------------- letters and pictures


def test_about_1500_letters_of_several_alphabets_in_twelve_faces():
    letters = glyphs.letters()
    assert len(set(FACES)) == 12
    assert 1400 < len(letters) < 1600
    assert list(letters) == sorted(set(letters))
    assert set("AzßéΩжЂ") < set(letters)
    assert not set("1 .+\u0301") & set(letters)


@EVERY
@SIZES
def test_every_letter_is_drawn_whole(face, size):
    pictures = glyphs.render_letters(face, size)
    assert (pictures.dtype, pictures.shape) == (np.uint8, (len(glyphs.letters()), size, size, 1))
    assert (pictures.min((1, 2, 3)) < 128).all(), "blank"
    edges = [pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1]]
    touched = np.stack([edge.min((1, 2)) < 255 for edge in edges])
    assert not touched.all(0).any()
    assert touched.any(0).sum() < 0.02 * len(pictures)  # a few of the widest
    assert pictures.mean() > 200, "black on white"


def test_faces_differ_from_each_other():
    for one, other in combinations(FACES, 2):
        different = (glyphs.render_letters(one, 32) != glyphs.render_letters(other, 32)).any((1, 2, 3))
        assert different.mean() > 0.9, (one, other)


def test_bold_is_darker_and_letters_stand_on_one_line():
    for family in ("sans", "mono", "serif"):
        assert glyphs.render_letters(f"{family}-bold", 32).mean() < glyphs.render_letters(family, 32).mean() - 2
    for face in FACES:
        shown = glyphs.render_letters(face, 64)[[glyphs.letters().index(letter) for letter in "EHTXΓ"], ..., 0]
        feet = [np.flatnonzero(picture.min(1) < 128).max() for picture in shown]
        assert max(feet) - min(feet) <= 1


# -------------------------------------------------------------------------------------------------------------- splits


def test_splits_are_disjoint_and_complete():
    where = glyphs.split_indices()
    assert list(where) == ["train", "val", "test"]
    assert sorted(np.concatenate(list(where.values())).tolist()) == list(range(len(glyphs.letters())))
    for name, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        assert abs(len(where[name]) / len(glyphs.letters()) - share) < 0.03


def test_letters_stay_where_they_are():
    places = {"train": "AmтéЖжßÈЀ", "val": "bkPKКńŵ", "test": "oоáčĜğŁ"}
    found = split_of()
    assert {letter: found[letter] for letters in places.values() for letter in letters} == {
        letter: name for name, letters in places.items() for letter in letters
    }


@EVERY
@SIZES
def test_letters_that_look_the_same_are_in_the_same_split(face, size):
    found = split_of()
    for letters in letters_shown(glyphs.render_letters(face, size), face, size):
        assert len({found[letter] for letter in letters}) == 1, letters


# ------------------------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_paired_letters(direction):
    data = opened("glyphs:serif/mono-bold", direction=direction)
    faces = ("serif", "mono-bold") if direction == "a2b" else ("mono-bold", "serif")
    for name, split in {"train": data.train, "val": data.held_out, "test": data.test}.items():
        assert split.aligned
        assert list(split.columns) == ["source", "target"]
        for column, face in zip(split.columns.values(), faces, strict=True):
            np.testing.assert_array_equal(column, glyphs.render_letters(face, 32)[glyphs.split_indices()[name]])
    assert "serif and mono-bold, paired" in data.summary
    assert data.notes == ()


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_unpaired_letters(direction):
    data = opened("glyphs:serif/mono-bold", DataKind.UNPAIRED, names=("x", "y"), direction=direction)
    faces = ("serif", "mono-bold") if direction == "a2b" else ("mono-bold", "serif")
    assert (data.train.aligned, data.held_out.aligned, data.test.aligned) == (False, True, True)
    columns = zip(data.train.columns.values(), faces, strict=True)
    shown = [set.union(*letters_shown(column, face)) for column, face in columns]
    assert not shown[0] & shown[1]
    found = split_of()
    assert {found[letter] for side in shown for letter in side} == {"train"}
    sizes = [len(column) for column in data.train.columns.values()]
    assert sum(sizes) == len(glyphs.split_indices()["train"])
    assert abs(sizes[0] - sizes[1]) < 0.05 * sum(sizes)
    for name, split in {"val": data.held_out, "test": data.test}.items():
        assert list(split.columns) == ["x", "y"]
        for column, face in zip(split.columns.values(), faces, strict=True):
            np.testing.assert_array_equal(column, glyphs.render_letters(face, 32)[glyphs.split_indices()[name]])
    assert "unpaired" in data.summary


@EVERY
def test_unpaired_sides_share_no_look_in_any_face(face):
    train = glyphs.unpaired(face, face)["train"]
    looks = [{picture.tobytes() for picture in column} for column in train.columns.values()]
    assert not looks[0] & looks[1]


def test_labelled_letters():
    faces = ("serif", "mono", "sans-bold")
    for name, split in glyphs.labelled(faces, 32).items():
        where = glyphs.split_indices()[name]
        assert split.aligned
        assert list(split.columns) == ["image", "label"]
        assert split.columns["label"] == [0, 1, 2] * len(where)
        for label, face in enumerate(faces):
            np.testing.assert_array_equal(split.columns["image"][label::3], glyphs.render_letters(face, 32)[where])
    assert set(glyphs.labelled()["val"].columns["label"]) == set(range(12))


@SIZES
def test_letters_have_the_size_of_the_crop_and_are_sans_and_serif_by_default(size):
    train = opened(crop=size).train
    where = glyphs.split_indices()["train"]
    for column, face in zip(train.columns.values(), ("sans", "serif-bolditalic"), strict=True):
        np.testing.assert_array_equal(column, glyphs.render_letters(face, size)[where])


@pytest.mark.parametrize("faces", ["", "serif", "serif/comic", "Serif/mono", "serif/mono/sans", "serif-oblique/mono"])
def test_other_faces_are_refused_with_the_list(faces):
    with pytest.raises(DataError, match=f"'glyphs:{faces}'") as caught:
        opened(f"glyphs:{faces}")
    assert all(f" {face}" in str(caught.value) for face in FACES)
