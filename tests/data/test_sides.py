"""`sides` chooses two of many folders; what is damaged does not change how a folder is understood."""

import pytest
from material import folder_of
from sets import cache, fill  # noqa: F401

from diptych.data import open_data
from diptych.data.config import DataConfig
from diptych.data.layouts import sides_setting
from diptych.errors import ConfigError, DataError
from diptych.plain import plain_yaml
from diptych.recipe import from_settings, named

PAIRED, UNPAIRED = ("source", "target"), ("a", "b")


def opened(root, names=PAIRED, **settings):
    return open_data(DataConfig(root=str(root), **settings), names)


def folders(split):
    return [column.files[0].parent.name for column in split.columns.values()]


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
@pytest.mark.parametrize("names", [PAIRED, UNPAIRED])
@pytest.mark.parametrize("splits", [(), ("train", "val"), ("train", "val", "test")])
def test_two_of_three_folders_with_and_without_splits(tmp_path, names, direction, splits):
    for split in splits or ("",):
        for number, side in enumerate(("cat", "dog", "wild")):
            fill(tmp_path / split / side, 40, 100 * number)
    data = opened(tmp_path, names, sides=("wild", "cat"), direction=direction)
    expected = ["wild", "cat"] if direction == "a2b" else ["cat", "wild"]
    assert folders(data.train) == folders(data.held_out) == expected
    assert data.train.aligned == (names == PAIRED)
    assert (data.test is not None) == ("test" in splits)
    assert len(data.train) + (0 if splits else len(data.held_out)) == 40


def test_two_folders_may_be_named_too_and_in_the_other_order(tmp_path):
    for side in ("x", "y"):
        fill(tmp_path / side, 2)
    assert folders(opened(tmp_path, sides=("y", "x")).train) == ["y", "x"]


def test_many_folders_are_told_with_the_way_to_choose(tmp_path):
    for side in ("cat", "dog", "wild"):
        fill(tmp_path / "train" / side, 1)
    with pytest.raises(DataError, match=r"Here are cat, dog, wild: choose two by sides=\[cat,dog\]"):
        opened(tmp_path)
    with pytest.raises(DataError, match=r"no folder is called dgo.*did you mean 'dog'.*there are cat, dog, wild"):
        opened(tmp_path, sides=("cat", "dgo"))


def test_a_side_that_is_empty_is_told(tmp_path):
    fill(tmp_path / "x", 1)
    (tmp_path / "y").mkdir()
    with pytest.raises(DataError, match=r"y: no images in it"):
        opened(tmp_path, sides=("x", "y"))


def test_sides_on_the_command_line_and_back_from_a_run(tmp_path):
    chosen = named("pix2pix", [f"root={tmp_path}", "sides=[google,7]"])
    assert chosen.data.sides == ("google", "7")
    assert from_settings(chosen.settings()) == chosen
    for wrong in ("sides=[a]", "sides=[a,a]", "sides=[a,../b]", "sides=[a,..]", "sides=a"):
        with pytest.raises(ConfigError, match="sides"):
            named("pix2pix", [f"root={tmp_path}", wrong])
    with pytest.raises(ConfigError, match="side_by_side"):
        named("pix2pix", [f"root={tmp_path}", "sides=[a,b]", "layout=side_by_side"])


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
    data = opened(root, sides=("google", "twitter"))
    assert folders(data.train) == ["google", "twitter"]
    assert [len(split) for split in (data.train, data.held_out, data.test)] == [1243, 152, 130], "as the table says"
    assert data.train.aligned


@pytest.mark.parametrize("names", [["cat", "dog"], ["no", "01"], ["a, b", "c: d"], ["[", '"'], ["é", "日本"]])
def test_the_way_to_choose_is_read_as_it_is_meant(names):
    key, _, value = sides_setting(names).partition("=")
    assert (key, plain_yaml(value)) == ("sides", names)
