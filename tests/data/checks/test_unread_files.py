"""What nothing reads is listed, in training as in `data check`; a folder without images says why."""

import pytest
from sets import cache, fill, noise  # noqa: F401

from diptych.data.checks import problems, survey
from diptych.data.checks.unread_files import MAX_LISTED, describe_unused
from diptych.data.checks.unreadable import check_images
from diptych.data.config import DataConfig
from diptych.data.images import image_io
from diptych.data.open import open_data
from diptych.errors import DataError
from diptych.methods import find


def notes(root, method="cyclegan", **settings):
    config = DataConfig(root=str(root), **settings)
    return check_images(open_data(config, find(method).data), config)[0].notes


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")


def test_training_lists_what_data_check_lists(tmp_path):
    for start, side in enumerate("AB"):
        fill(tmp_path / f"train{side}", 40, 100 * start)
    touch(tmp_path / "trainA", *(f"{number}.gif" for number in range(4)), ".hidden", "Thumbs.db")
    touch(tmp_path / "raw", "a.dcm", "b.dcm")
    touch(tmp_path, "README.md", "x.nii.gz", "y.nii.gz")
    line = describe_unused(survey.survey(tmp_path).unread_files)
    assert line == "not used: README.md, *.nii.gz (2), raw/ (2), trainA/*.gif (4)"
    assert line in notes(tmp_path)


def test_a_heap_with_some_files_of_other_kinds_lists_them(tmp_path):
    fill(tmp_path, 40)
    touch(tmp_path, *(f"{number}.gif" for number in range(4)), "x.heic")
    assert "not used: *.gif (4), x.heic" in notes(tmp_path, "gan")


def test_nothing_is_said_where_all_is_used_tables_included(tmp_path):
    files = fill(tmp_path, 40)
    (tmp_path / "table.csv").write_text("name,old\n" + "".join(f"{file.name},1\n" for file in files))
    assert not [note for note in notes(tmp_path, "gan") if "not used" in note]


def test_long_lists_end():
    assert describe_unused({f"{number}/": 1 for number in range(MAX_LISTED + 3)}).endswith(
        f"{MAX_LISTED - 1}/ (1), and 3 more"
    )


EMPTY = {  # folders without images: what is in them, and what is said
    "other kinds": (
        {"trainA": ["1.nii.gz", "2.nii.gz"], "trainB": ["1.gif"]},
        ["trainA/ has 2 files of a kind that is not read (.nii.gz)", "trainB/ has 1 file of", "Diptych reads .bmp"],
    ),
    "several kinds": (
        {"trainA": ["a.gif", "b.dcm"], "trainB": []},
        ["2 files of kinds that are not read (.dcm, .gif)"],
    ),
    "deeper": (
        {"trainA/aachen": 2, "trainA/bochum": 2, "trainB/aachen": 2},
        ["trainA/ has folders with images (aachen, bochum): move the images into trainA/", "trainB/ has"],
    ),
    "deeper the other way": ({"A/train/x": 2, "B/train/x": 2}, ["train/ has folders with images (x)"]),
    "one class": ({"train/cats": 2}, ["train/ has one class (cats), and at least two are required"]),
    "one domain": ({"cats": 2}, ["has one class (cats), and at least two are required"]),
    "one above": ({"facades/train": 2}, ["facades/ looks like a data set: use that folder"]),
    "files alone": ({"": ["a.heic", "b.heic"]}, ["2 files of a kind that is not read (.heic)"]),
    "classes of another kind": ({"train/x": ["a.gif"], "train/y": ["a.gif"]}, ["x/ has 1 file", "y/ has 1 file"]),
}


@pytest.fixture(params=EMPTY)
def empty(request, tmp_path):
    folders, words = EMPTY[request.param]
    for start, (folder, content) in enumerate(folders.items()):
        if isinstance(content, int):
            fill(tmp_path / folder, content, 10 * start)
        else:
            touch(tmp_path / folder, *content)
    return tmp_path, words


@pytest.mark.parametrize("method", ["cyclegan", "pix2pix", "stargan"])
def test_training_says_why_there_are_no_images(empty, method):
    root, words = empty
    with pytest.raises(DataError) as caught:
        open_data(DataConfig(root=str(root)), find(method).data)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_data_check_says_why_there_are_no_images(empty):
    from diptych.workflows.dataset_fit import why_not

    root, words = empty
    found = survey.survey(root)
    said = " ".join(f"{fault.kind} {fault.names} {fault.remedy}" for fault in problems.find_problems(found)) + why_not(
        found
    )
    assert all(word in said for word in words), said


def test_one_folder_of_other_kinds_beside_one_of_images(tmp_path):
    fill(tmp_path / "trainA", 2)
    touch(tmp_path / "trainB", "1.nii.gz")
    words = r"trainB/ has 1 file of a kind that is not read \(\.nii\.gz\); Diptych reads"
    with pytest.raises(DataError, match=words):
        open_data(DataConfig(root=str(tmp_path)), find("pix2pix").data)
    assert any("trainB/ has 1 file" in fault.remedy for fault in problems.find_problems(survey.survey(tmp_path)))


def test_kinds_that_are_new_are_used(tmp_path):
    for number in range(40):
        for side, suffix in (("A", ".jfif"), ("B", ".ppm")):
            image_io.write(tmp_path / f"train{side}" / f"{number}{suffix}", noise(number))
    assert not [note for note in notes(tmp_path) if "not used" in note]
