"""Images with a table of attributes: both forms, partitions, and everything that can be wrong with a table."""

import random

import numpy as np
import pytest
from material import folder_of
from sets import fill

from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.open import open_data
from diptych.errors import DataError


def opened(root, **settings):
    return open_data(DataConfig(root=str(root), **settings), DataKind.LABELLED)


def celeba(root, rows, names="Male Young", partition=None):
    """`rows` of attributes as text, in CelebA's form; the images beside."""
    files = fill(root / "images", len(rows))
    lines = [f"{file.name} {row}" for file, row in zip(files, rows, strict=True)]
    (root / "list_attr_celeba.txt").write_text("\n".join([str(len(rows)), names, *lines]) + "\n")
    if partition:
        split = [f"{file.name} {number}" for file, number in zip(files, partition, strict=True)]
        (root / "list_eval_partition.txt").write_text("\n".join(split) + "\n")
    return files


def table(root, text, count=4):
    fill(root, count)
    (root / "attributes.csv").write_text(text)


def test_celebas_form_with_its_partition(tmp_path):
    files = celeba(tmp_path, ["1 -1", "-1 -1", "-1  1", "1 1"], partition=[0, 2, 0, 1])
    data = opened(tmp_path)
    assert data.labels[0].model_dump() == {"names": ("Male", "Young"), "kind": "attributes", "exclusive": ()}
    assert data.train.columns["image"].files == (files[0], files[2])
    assert data.train.columns["label"].tolist() == [[1, 0], [0, 1]]
    assert data.held_out.columns["label"].tolist() == [[1, 1]]
    assert data.test.columns["image"].files == (files[1],)
    assert "2 images, Male 50 %, Young 50 %; 1 in val" in data.summary


def test_a_csv_with_a_column_of_splits_and_other_words_for_yes(tmp_path):
    table(tmp_path, "name,Smiling,split,Old\n000,yes,train,0\n001.png,no,train,1\n002,true,val,0\n003,False,val,1\n")
    data = opened(tmp_path, attributes=("Old", "Smiling"))
    assert data.train.columns["label"].tolist() == [[0, 1], [1, 0]]
    assert opened(tmp_path).labels[0].names == ("Smiling", "Old")


def test_without_a_partition_some_are_held_out_by_name(tmp_path):
    celeba(tmp_path, [f"{1 if at % 2 else -1} {1 if at % 3 else -1}" for at in range(60)])
    data = opened(tmp_path, attributes=("Male",))
    assert len(data.train) + len(data.held_out) == 60
    assert 0 < len(data.held_out) < 12
    assert "held out, chosen by name" in data.notes[0]


def test_the_published_split_of_stargan_is_the_first_of_its_shuffle(monkeypatch, tmp_path):
    monkeypatch.setattr("diptych.data.sources.attributes.PUBLISHED_TEST", 3)
    files = celeba(tmp_path, [f"{1 if at % 2 else -1} {1 if at % 3 else -1}" for at in range(12)])
    expected = list(files)
    random.seed(1234)
    random.shuffle(expected)
    data = opened(tmp_path, partition="celeba-stargan")
    assert list(data.held_out.columns["image"].files) == expected[:3]
    assert list(data.train.columns["image"].files) == expected[3:]
    monkeypatch.setattr("diptych.data.sources.attributes.PUBLISHED_TEST", 12)
    with pytest.raises(DataError, match="has 12 test images, the table has 12"):
        opened(tmp_path, partition="celeba-stargan")


def test_the_split_of_dong_takes_the_last_fifth_of_each_class(tmp_path):
    celeba(tmp_path, ["1 1"] * 10 + ["-1 -1"] * 5)
    data = opened(tmp_path, partition="celeba-dong", attributes=("Male",))
    assert np.bincount(data.train.columns["label"][:, 0]).tolist() == [4, 8]
    assert [file.stem for file in data.held_out.columns["image"].files] == ["008", "009", "014"]
    with pytest.raises(DataError, match=r"choose one attribute, such as attributes=\[Male\]"):
        opened(tmp_path, partition="celeba-dong")


def test_exclusive_groups_are_kept_and_contradictions_told(tmp_path):
    celeba(tmp_path, ["1 1", "-1 1", "1 -1", "1 -1"], "Black_Hair Blond_Hair", [0, 0, 0, 1])
    data = opened(tmp_path, exclusive=(("Black_Hair", "Blond_Hair"),))
    assert data.labels[0].exclusive == (("Black_Hair", "Blond_Hair"),)
    assert "1 images have more than one of Black_Hair, Blond_Hair" in data.notes[0]
    with pytest.raises(DataError, match="no attribute Blond_Hare; did you mean 'Blond_Hair'"):
        opened(tmp_path, exclusive=(("Black_Hair", "Blond_Hare"),))


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("name,A\n000,1\n001,0\n002,1\n", {}, r"1 images have no row: 003\.png; add the rows"),
        ("name,A\n000,1\n001,0\n002,1\n003,0\n009,1\n", {}, "1 rows are of images that do not exist: 009"),
        ("name,A\n000,1\n000.png,0\n002,1\n003,0\n001,1\n", {}, r"1 images have several rows: 000\.png"),
        ("name,A\n000,1\n001,2\n002,1\n003,0\n", {}, "line 3: A is '2'; expected 1 or -1"),
        ("name,A,B\n000,1,1\n001,0\n002,1,1\n003,0,0\n", {}, "line 3 has 1 values for 2 columns"),
        ("name,Smiling\n000,1\n001,0\n002,1\n003,0\n", {"attributes": ("Smilin",)}, r"called Smilin.*mean 'Smiling'"),
        (
            "name,A,split\n000,1,train\n001,1,train\n002,1,val\n003,1,val\n",
            {},
            "every training image has A, so it cannot be learnt",
        ),
        (
            "name,A,split\n000,1,train\n001,0,train\n002,1,tset\n003,0,val\n",
            {},
            "expected the splits train, val, test, got 'tset'",
        ),
        (
            "name,A,split\n000,1,train\n001,0,train\n002,1,train\n003,0,train\n",
            {},
            "training and held-out images are required",
        ),
        ("name,A\n000,1\n001,0\n002,1\n003,0\n", {"table": "other.csv"}, r"other\.csv: not a readable table"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_clear_error(tmp_path, text, settings, message):
    table(tmp_path, text)
    with pytest.raises(DataError, match=message):
        opened(tmp_path, **{"table": "attributes.csv", **settings})


def test_an_attribute_named_twice_is_told(tmp_path):
    celeba(tmp_path, ["1 1", "-1 1", "1 -1", "1 -1"], partition=[0, 0, 0, 1])
    with pytest.raises(DataError, match=r"list_attr_celeba\.txt: two labels have the same name"):
        opened(tmp_path, attributes=("Male", "Male"))
    with pytest.raises(DataError, match="exclusive names an attribute twice"):
        opened(
            "glyphs:sans/serif/mono",
            crop_size=32,
            attributes=("sans", "serif", "mono"),
            exclusive=(("sans", "serif"), ("sans", "mono")),
        )


def test_one_attribute_of_0_and_1_is_no_partition(tmp_path):
    table(tmp_path, "name,Smiling\n" + "".join(f"{at:03},{at % 2}\n" for at in range(40)), count=40)
    data = opened(tmp_path)
    assert data.labels[0].names == ("Smiling",)
    assert 0.4 < np.asarray(data.train.columns["label"]).mean() < 0.6
    (tmp_path / "parts.csv").write_text("image_id,partition\n" + "".join(f"{at:03},{at % 3}\n" for at in range(40)))
    assert len(opened(tmp_path, table="attributes.csv").train) == 14


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("name,split\n000,train\n001,train\n002,train\n003,val\n", "no columns after the names of the images"),
        ("name;A;B\n000;1;0\n001;0;1\n", "are they separated by commas"),
    ],
)
def test_a_table_without_attributes_is_told(tmp_path, text, match):
    table(tmp_path, text)
    with pytest.raises(DataError, match=match):
        opened(tmp_path, table="attributes.csv")


def test_rows_of_nothing_are_passed_over(tmp_path):
    table(tmp_path, "name,A,split\n000,1,train\n001,0,train\n002,1,val\n003,0,val\n,,\n")
    data = opened(tmp_path)
    assert [len(split) for split in (data.train, data.held_out)] == [2, 2]


def test_settings_of_classes_and_of_tables_are_not_passed_over(tmp_path):
    table(tmp_path / "table", "name,A,B\n000,1,0\n001,0,1\n002,1,0\n003,0,1\n")
    for name in ("cat", "dog"):
        fill(tmp_path / "classes" / name, 30)
    for root, settings, says in (
        ("table", {"folders": ("A", "B")}, "attributes.csv has attributes, not classes: leave folders= out"),
        ("table", {"matched_names": True}, "leave matched_names= out"),
        ("classes", {"exclusive": (("A", "B"),)}, "there is no table of attributes: leave exclusive= out"),
        ("classes", {"attributes": ("A",)}, "leave attributes= out"),
    ):
        with pytest.raises(DataError, match=says):
            opened(tmp_path / root, **settings)


def test_two_tables_must_be_chosen_between(tmp_path):
    table(tmp_path, "name,A,B\n000,1,0\n001,0,1\n002,1,0\n003,0,1\n")
    (tmp_path / "other.csv").write_text((tmp_path / "attributes.csv").read_text())
    with pytest.raises(DataError, match=r"attributes\.csv, other\.csv are all tables: choose one by table=NAME"):
        opened(tmp_path)


def test_several_sets_each_with_labels_of_their_own(tmp_path):
    celeba(tmp_path / "faces", ["1 -1", "-1 1", "1 1", "-1 -1"], partition=[0, 0, 0, 1])
    for side in ("cat", "dog"):
        for split in ("train", "val"):
            fill(tmp_path / "animals" / split / side, 3)
    data = opened(tmp_path / "faces", extra_roots=(str(tmp_path / "animals"),))
    assert [each.names for each in data.labels] == [("Male", "Young"), ("cat", "dog")]
    assert len(data.others[0].train) == 6
    with pytest.raises(DataError, match="uses one data set without labels"):
        open_data(DataConfig(root="glyphs", extra_roots=("glyphs",)), DataKind.PAIRED)


def test_celeba_itself():
    root = folder_of("DIPTYCH_DATA", "shared/data") / "celeba"
    hair = ("Black_Hair", "Blond_Hair", "Brown_Hair")
    data = opened(root, attributes=(*hair, "Male", "Young"), exclusive=(hair,))
    assert (len(data.train), len(data.held_out), len(data.test)) == (2400, 300, 300)
    assert data.train.columns["label"].shape == (2400, 5)
    assert len(opened(root, attributes=("Male",), partition="celeba-stargan").held_out) == 1999
