"""The one rule for what is an image: hidden and system files and folders never, linked folders once."""

import os
import unicodedata
from pathlib import Path

import pytest
from sets import fill

from diptych.data.checks.survey import UNLABELLED, survey
from diptych.data.config import DataConfig
from diptych.data.images import image_io
from diptych.data.sources.folders import (
    distinct_folders_of_images,
    file_suffix,
    folders_of_images,
    images_in,
    is_held_out,
    names_in,
)
from diptych.data.sources.pairs import open_unlabelled
from diptych.errors import DataError
from diptych.inference.input_files import find_sources

NEVER = (
    ".ipynb_checkpoints/a-checkpoint.png",
    "$RECYCLE.BIN/old.png",
    "$Recycle.Bin/old.png",
    "__MACOSX/x.png",
    "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg",
    "lost+found/b.png",
    "System Volume Information/c.png",
    "#recycle/d.png",
    ".hidden.png",
    "._a.png",
    "Thumbs.db",
    ".DS_Store",
    "desktop.ini",
)


@pytest.fixture
def messy(tmp_path):
    """A folder as desktops, notebooks and network drives leave it: two images, and a link to a folder with one."""
    root = tmp_path / "in"
    for name in ("a.png", "site1/b.JFIF", "site1/notes.txt", "moving.gif", "scan.nii.gz", *NEVER):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "linked.png").touch()
    (root / "site2").symlink_to("../elsewhere")
    return root


def found(*given, out="nowhere"):
    return {str(name) for name in find_sources([str(each) for each in given], Path(out)).images.values()}


def test_translate_takes_what_training_takes_and_says_what_it_leaves(messy):
    assert found(messy) == {"a.png", "site1/b.JFIF", "site2/linked.png"}
    assert str(find_sources([str(messy)], messy / "out")) == "1 .gif, 1 .nii.gz, 1 .txt"
    heap = open_unlabelled(DataConfig(root=str(messy)))
    assert {str(file.relative_to(messy)) for file in heap.train.columns["image"].files} == found(messy)


def test_patterns_obey_the_same_rule(messy):
    assert found(messy / "**" / "*.png") == {"a.png", "site2/linked.png"}
    assert found(messy / "*" / "*.*") == {"site1/b.JFIF", "site2/linked.png"}
    assert found(messy / "*.png") == {"a.png"}
    assert found(messy / "site[12]" / "*") == {"site1/b.JFIF", "site2/linked.png"}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("$RECYCLE.BIN/*.png", {"old.png"}),
        (".ipynb_checkpoints/*", {"a-checkpoint.png"}),
        ("**/__MACOSX/*.png", {"__MACOSX/x.png"}),
        (".ipynb*/*.png", {".ipynb_checkpoints/a-checkpoint.png"}),
        (".hid*.png", {".hidden.png"}),
    ],
)
def test_a_pattern_that_names_a_hidden_folder_means_it(messy, pattern, names):
    assert found(messy / pattern) == names


def test_a_hidden_file_or_folder_that_is_given_by_name_is_meant(messy):
    assert found(messy / ".hidden.png") == {".hidden.png"}
    assert found(messy / "@eaDir" / "a.png") == {"SYNOPHOTO_THUMB_M.jpg"}


def test_linked_folders_are_followed_once_and_loops_never(messy):
    (messy / "again").symlink_to("site1")
    (messy / "site1" / "up").symlink_to("..")
    (messy / "site1" / "top").symlink_to("../..")
    (messy / "site2" / "back").symlink_to(messy)
    (messy / "zz").symlink_to(messy / "site2")
    assert found(messy) == {"a.png", "site1/b.JFIF", "site2/linked.png"}
    assert found(messy / "**" / "*") == {"a.png", "site1/b.JFIF", "site2/linked.png"}


def test_a_linked_folder_of_a_heap_is_not_taken_twice(tmp_path):
    fill(tmp_path / "site1", 2)
    (tmp_path / "again").symlink_to("site1")
    (tmp_path / "loop").symlink_to(".")
    assert distinct_folders_of_images(tmp_path) == [tmp_path / "site1"]
    assert len(open_unlabelled(DataConfig(root=str(tmp_path))).train.columns["image"]) == 2


def test_translations_are_no_sources_but_sources_below_them_are(messy):
    (messy / "out").mkdir()
    (messy / "out" / "a.png").touch()
    (messy / "link").symlink_to("out")
    assert found(messy, out=messy / "out") == {"a.png", "site1/b.JFIF", "site2/linked.png"}
    assert found(messy / "site1", out=messy) == {"b.JFIF"}


def test_nothing_to_translate_says_what_is_there(tmp_path):
    for name in ("a.gif", "b.gif", "c.txt"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"no images among .*: there are 2 \.gif, 1 \.txt; Diptych reads .*\.ppm"):
        found(tmp_path)
    with pytest.raises(DataError, match=r"not an image by its name; Diptych reads"):
        found(tmp_path / "a.gif")
    for missing in ("nowhere", "nowhere/*.png", "*.png"):
        with pytest.raises(DataError, match="no such image or folder, and no file matches it as a pattern"):
            found(tmp_path / missing)


def test_names_of_images(tmp_path):
    for suffix in image_io.SUFFIXES:
        (tmp_path / f"a{suffix.upper()}").touch()
    (tmp_path / "a.gif").touch()
    (tmp_path / "folder.png").mkdir()
    assert len(images_in(tmp_path)) == len(image_io.SUFFIXES) + 1, (
        "a folder named like an image is found as damage later"
    )
    assert names_in(tmp_path)["folder.png"] is False


def test_kinds_of_files():
    names = {"a.GIF": ".gif", "a.b.nii.gz": ".nii.gz", "a.gz": ".gz", "a": "without suffix", "v1.a.dcm": ".dcm"}
    assert {name: file_suffix(name) for name in names} == names


def test_names_that_are_not_utf8_are_held_out_or_not_like_others():
    assert is_held_out(Path(os.fsdecode(b"\xff.png"))) in (True, False)


def test_links_that_lead_back_stop_nothing(tmp_path):
    """To themselves, to their own folder, or to one above: the other images are used."""
    fill(tmp_path / "a", 3, width=16, height=16)
    (tmp_path / "a" / "loop").symlink_to("loop")
    (tmp_path / "a" / "here").symlink_to(".")
    (tmp_path / "a" / "above").symlink_to("..")
    assert folders_of_images(tmp_path / "a") == []
    assert len(images_in(tmp_path / "a")) == 3
    assert len(find_sources([str(tmp_path / "a")], tmp_path / "out").images) == 3
    assert survey(tmp_path / "a").layout == UNLABELLED


def test_a_name_that_is_too_long_is_no_image(tmp_path):
    with pytest.raises(DataError, match="File name too long"):
        find_sources([str(tmp_path / ("x" * 300 + ".png"))], tmp_path / "out")


def test_a_name_is_held_out_in_either_unicode_form():
    names = [f"\u00e9{number}" for number in range(200)]
    held_out = [is_held_out(Path(f"{name}.png")) for name in names]
    assert 0 < sum(held_out) < 40
    assert held_out == [is_held_out(Path(unicodedata.normalize("NFD", f"{name}.png"))) for name in names]
