"""Which folders are taken, whether names in two heaps make pairs, and that damage changes neither."""

import re

import pytest
from material import folder_of
from sets import cache, fill  # noqa: F401

from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.open import open_data
from diptych.data.sources.pairs import folders_setting
from diptych.errors import ConfigError, DataError
from diptych.settings.recipe import from_settings, load_recipe
from diptych.system.safe_parse import parse_yaml

PAIRED, UNPAIRED = ("source", "target"), ("a", "b")
HEAP, LABELLED = ("image",), ("image", "label")
KIND = dict(zip((PAIRED, UNPAIRED, HEAP, LABELLED), DataKind, strict=False))


def opened(root, names=PAIRED, **settings):
    return open_data(DataConfig(root=str(root), **settings), KIND[names], names)


def folders(split):
    return [column.files[0].parent.name for column in split.columns.values()]


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
@pytest.mark.parametrize("names", [PAIRED, UNPAIRED])
@pytest.mark.parametrize("splits", [(), ("train", "val"), ("train", "val", "test")])
def test_two_of_three_folders_with_and_without_splits(tmp_path, names, direction, splits):
    for split in splits or ("",):
        for number, side in enumerate(("cat", "dog", "wild")):
            fill(tmp_path / split / side, 40, 100 * number)
    data = opened(tmp_path, names, folders=("wild", "cat"), direction=direction)
    expected = ["wild", "cat"] if direction == "a2b" else ["cat", "wild"]
    assert folders(data.train) == folders(data.held_out) == expected
    assert data.train.aligned == (names == PAIRED)
    assert (data.test is not None) == ("test" in splits)
    assert len(data.train) + (0 if splits else len(data.held_out)) == 40


def test_two_folders_may_be_named_too_and_in_the_other_order(tmp_path):
    for side in ("x", "y"):
        fill(tmp_path / side, 2)
    assert folders(opened(tmp_path, folders=("y", "x")).train) == ["y", "x"]


def test_many_folders_are_told_with_the_way_to_choose(tmp_path):
    for side in ("cat", "dog", "wild"):
        fill(tmp_path / "train" / side, 1)
    with pytest.raises(DataError, match=r"Here are cat, dog, wild: choose two by folders=\[cat,dog\]"):
        opened(tmp_path)
    with pytest.raises(DataError, match=r"no folder is called dgo.*did you mean 'dog'.*there are cat, dog, wild"):
        opened(tmp_path, folders=("cat", "dgo"))


def test_a_side_that_is_empty_is_told(tmp_path):
    fill(tmp_path / "x", 1)
    (tmp_path / "y").mkdir()
    with pytest.raises(DataError, match=r"y: no images in it"):
        opened(tmp_path, folders=("x", "y"))


def test_sides_on_the_command_line_and_back_from_a_run(tmp_path):
    chosen = load_recipe("pix2pix", [f"root={tmp_path}", "folders=[google,7]"])
    assert chosen.data.folders == ("google", "7")
    assert from_settings(chosen.settings()) == chosen
    for wrong in ("folders=[a]", "folders=[a,a]", "folders=[a,../b]", "folders=[a,..]", "folders=a"):
        with pytest.raises(ConfigError, match="folders"):
            load_recipe("pix2pix", [f"root={tmp_path}", wrong])
    with pytest.raises(ConfigError, match="side_by_side"):
        load_recipe("pix2pix", [f"root={tmp_path}", "folders=[a,b]", "layout=side_by_side"])


@pytest.mark.parametrize("damage", ["empty", "link", "folder"])
def test_d1_damage_does_not_change_what_a_folder_is_taken_for(tmp_path, damage):
    files = fill(tmp_path / "train", 5)
    files[0].unlink()
    if damage == "empty":
        files[0].touch()
    elif damage == "link":
        files[0].symlink_to("nowhere.png")
    else:
        files[0].mkdir()
    assert opened(tmp_path).train.columns["source"].files == tuple(files)


def test_what_systems_leave_behind_is_no_image(tmp_path):
    files = fill(tmp_path / "train", 2)
    for name in ("._000.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / "train" / name).write_bytes(b"junk")
    (tmp_path / "__MACOSX").mkdir()
    assert opened(tmp_path).train.columns["source"].files == tuple(files)


def test_real_emoji_pair_by_name_in_any_two_drawings():
    root = folder_of("DIPTYCH_DATA", "shared/data") / "emoji"
    data = opened(root, folders=("google", "twitter"))
    assert folders(data.train) == ["google", "twitter"]
    assert [len(split) for split in (data.train, data.held_out, data.test)] == [1243, 152, 130], "as the table says"
    assert data.train.aligned


@pytest.mark.parametrize("names", [["cat", "dog"], ["no", "01"], ["a, b", "c: d"], ["[", '"'], ["é", "日本"]])
def test_the_way_to_choose_is_read_as_it_is_meant(names):
    key, _, value = folders_setting(names).partition("=")
    assert (key, parse_yaml(value)) == ("folders", names)


def heaps(root, splits, names):
    """Folders A and B of each split, with images of these names."""
    for split in splits:
        for side, stems in zip("AB", names, strict=True):
            for number, file in enumerate(fill(root / f"{split}{side}", len(stems))):
                file.rename(file.with_name(f"{split}-{stems[number]}.png"))


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_twins_of_two_heaps_are_known_where_they_are_held_out(tmp_path, direction):
    heaps(tmp_path, ("train", "val", "test"), ("abcd", "xdb"))
    plain, data = (opened(tmp_path, UNPAIRED, matched_names=said, direction=direction) for said in (False, True))
    assert not plain.held_out.aligned
    assert data.train.columns == plain.train.columns
    assert not data.train.aligned, "those that train are drawn apart"
    for split, name in ((data.held_out, "val"), (data.test, "test")):
        assert split.aligned
        files = [[file.name for file in split.columns[side].files] for side in UNPAIRED]
        assert files[0] == files[1]
        assert sorted(files[0]) == [f"{name}-b.png", f"{name}-d.png"]
    assert folders(data.held_out) == folders(plain.held_out)
    assert data.notes == ("the ground truth is known for 2 of 4 held-out files, by their names",)


def test_twins_of_a_folder_that_nothing_divides(tmp_path):
    """Names decide what is held out, the same for both; all of it is judged by --split all."""
    for side, count in (("x", 60), ("y", 50)):
        fill(tmp_path / side, count)
    data = opened(tmp_path, UNPAIRED, matched_names=True)
    assert data.held_out.aligned
    assert 0 < len(data.held_out) < 10
    assert data.all_images.aligned
    names = [[file.name for file in column.files] for column in data.all_images.columns.values()]
    assert names[0] == names[1]
    assert len(names[0]) == 50
    assert not opened(tmp_path, UNPAIRED).all_images.aligned


def test_twins_of_too_few_images_to_hold_any_out(tmp_path):
    for side, count in (("x", 2), ("y", 3)):
        fill(tmp_path / side, count)
    data = opened(tmp_path, UNPAIRED, matched_names=True)
    assert data.held_out.aligned
    assert [len(column) for column in data.all_images.columns.values()] == [2, 2]
    assert [len(column) for column in data.train.columns.values()] == [2, 3]


def test_twins_that_are_none_or_two_are_told(tmp_path):
    heaps(tmp_path, ("train", "test"), ("ab", "cd"))
    with pytest.raises(DataError, match="no held-out file of one domain has the name of a file of the other"):
        opened(tmp_path, UNPAIRED, matched_names=True)
    heaps(tmp_path, ("test",), ("", "a"))
    fill(tmp_path / "testA", 1, suffix=".bmp")[0].rename(tmp_path / "testA" / "test-a.bmp")
    with pytest.raises(DataError, match=r"test-a\.\w+: another image of this domain has the same name"):
        opened(tmp_path, UNPAIRED, matched_names=True)


@pytest.mark.parametrize(
    ("names", "settings", "words"),
    [
        (HEAP, {"folders": ("x", "y")}, "uses all images alike: leave folders= out"),
        (HEAP, {"matched_names": True}, "uses all images alike: leave matched_names= out"),
        (HEAP, {"attributes": ("Young",)}, "uses all images alike: leave attributes= out"),
        (HEAP, {"direction": "b2a"}, "uses all images alike: leave direction= out"),
        (
            HEAP,
            {"background_root": "x"},
            "only a file of digits is blended with photographs: leave background_root= out",
        ),
        (LABELLED, {"layout": "folders"}, "translates between all classes or attributes: leave layout= out"),
        (LABELLED, {"direction": "b2a"}, "leave direction= out"),
        (PAIRED, {"attributes": ("Young",)}, "needs two folders, or two images in each file: leave attributes= out"),
        (PAIRED, {"table": "x.csv"}, "leave table= out"),
        (UNPAIRED, {"table": "x.csv"}, "not a readable table"),
        (UNPAIRED, {"partition": "celeba-dong"}, "leave partition= out"),
    ],
)
def test_a_setting_that_says_nothing_of_such_data_is_refused(tmp_path, names, settings, words):
    for side in ("x", "y"):
        fill(tmp_path / side, 3)
    with pytest.raises(DataError, match=re.escape(words)):
        opened(tmp_path, names, **settings)


@pytest.mark.parametrize("tables", [("one",), ("one", "two")])
def test_a_table_beside_two_folders_does_not_hide_what_is_wrong_with_them(tmp_path, tables):
    heaps(tmp_path, ("train", "test"), ("ab", "ab"))
    for file in (tmp_path / "testB").iterdir():
        file.unlink()
    for name in tables:
        (tmp_path / f"{name}.csv").write_text("name,Young,Old\ntrain-a.png,1,0\n")
    with pytest.raises(DataError, match=r"testB: no images in it \([^)]*\)$"):
        opened(tmp_path, UNPAIRED)


def test_all_pairs_side_by_side_are_pairs_whatever_they_are_called(tmp_path):
    fill(tmp_path, 60, width=32, height=16)
    fill(tmp_path, 2, 100, suffix=".bmp", width=32, height=16)
    data = opened(tmp_path, UNPAIRED)
    assert data.by_name
    assert data.all_images.aligned
    assert len(data.all_images) == 62


def test_a_heap_with_a_test_folder_of_sides_alone_stays_a_heap(tmp_path):
    fill(tmp_path, 30)
    fill(tmp_path / "testA", 2, 50)
    data = opened(tmp_path, HEAP)
    assert len(data.train) + len(data.held_out) == 32
