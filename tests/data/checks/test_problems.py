"""`diptych data check`: right about all real sets, and all that is wrong with a damaged one in one go (D1, D3, D5)."""

import os
import shutil
import zipfile

import numpy as np
import pytest
from commands import diptych
from material import folder_of
from PIL import Image
from sets import cache, cut_short, fill, flip_bit, noise  # noqa: F401

from diptych.data.checks import problems, survey
from diptych.data.checks.inspect_file import FileInfo
from diptych.data.checks.manifest import Entry, Manifest, relative_path
from diptych.data.images import image_io
from diptych.workflows import dataset_fit

APART = ["cyclegan", "cut", "drit", "munit", "diat"]
BOTH = ["pix2pix", "msgan", *APART]
MANY = ["twostep", "stargan", "starganv2"]
HEAPS = [*APART, *MANY]
REAL = {  # layout, images by split and side, methods that fit
    "facades": (survey.SIDE_BY_SIDE, {"train": 400, "val": 100, "test": 106}, BOTH),
    "retina_vessels": (survey.SIDE_BY_SIDE, {"train": 35, "val": 3, "test": 16}, BOTH),
    "brooklyn1887": (survey.SIDE_BY_SIDE, {"train": 101, "test": 18}, BOTH),
    "maps": (survey.SIDE_BY_SIDE, {"train": 350, "val": 40, "test": 40}, BOTH),
    "edges2shoes": (survey.SIDE_BY_SIDE, {"train": 400, "val": 80}, BOTH),
    "cityscapes": (survey.SIDE_BY_SIDE, {"train": 300, "val": 50}, BOTH),
    "horse2zebra": (survey.UNPAIRED, {"train A": 300, "train B": 300, "test A": 50, "test B": 60}, HEAPS),
    "afhq": (
        survey.UNPAIRED,
        {"train cat": 1000, "train dog": 1000, "val cat": 150, "val dog": 150},
        HEAPS,
    ),
    "emoji": (
        survey.DOMAINS_BY_NAME,
        {
            f"{split} {side}": count
            for split, count in (("train", 1243), ("val", 152), ("test", 130))
            for side in ("fluent3d", "google", "twitter")
        },
        [*BOTH, *MANY],
    ),
    "celeba": (survey.TABLE, {"train images": 2400, "val images": 300, "test images": 300}, ["stargan"]),
    "sr": (
        survey.UNLABELLED,
        {"train BSDS": 110, "train T91": 90, "test B100": 100, "test Set14": 14, "test Set5": 5},
        HEAPS,
    ),
    "mnist": (survey.ARRAYS, {}, []),
}
DECODED = ("brooklyn1887", "horse2zebra", "sr")  # the others take long, and are as much alike
SETTINGS = {
    "afhq cyclegan": ("crop_size=128", "generator=resnet_6"),
    **{f"afhq {method}": ("crop_size=128",) for method in APART[1:]},
    **{f"retina_vessels {method}": ("resize_mode=none",) for method in BOTH},
    **{f"emoji {method}": ("folders=[fluent3d,google]", "crop_size=64") for method in ("msgan", *APART[1:])},
    "emoji pix2pix": ("folders=[fluent3d,google]", "crop_size=64", "generator=unet_64"),
    "emoji cyclegan": ("folders=[fluent3d,google]", "crop_size=64", "generator=resnet_6"),
    **{f"{name} {method}": ("batch_size=8",) for name in ("horse2zebra", "sr") for method in MANY},
    **{f"afhq {method}": ("crop_size=128", "batch_size=8") for method in MANY},
    **{f"emoji {method}": ("crop_size=64", "batch_size=8") for method in MANY},
    "celeba stargan": ("crop_size=128", "batch_size=8"),
}


def by_headers(root, files, **_):
    """Instead of a scan."""
    headers = {relative_path(file, root): image_io.probe(file) for file in files}
    found = {path: FileInfo(path, h.height, h.width, h.channels, h.dtype) for path, h in headers.items()}
    return Manifest(root, tuple(Entry(path, 0, 0, finding) for path, finding in found.items()))


@pytest.mark.parametrize("name", REAL)
def test_real_sets_are_understood_counted_and_without_fault(name, monkeypatch):
    layout, counts, methods = REAL[name]
    if name not in DECODED:
        monkeypatch.setattr(survey, "scan", by_headers)
    found = survey.survey(folder_of("DIPTYCH_DATA", "shared/data") / name)
    assert found.layout == layout
    assert {f"{part.split} {part.domain}".strip(): len(part.files) for part in found.parts} == counts
    grey = [("Set14/bridge.png (1)",)] if name == "sr" else []
    assert [fault.names for fault in problems.find_problems(found)] == grey
    assert not any(fault.is_error for fault in problems.find_problems(found))
    chosen = {fit.method: fit.settings for fit in dataset_fit.fits(found) if fit.fits}
    assert chosen == {method: SETTINGS.get(f"{name} {method}", ()) for method in methods}


def test_what_the_folders_hold_beside_images():
    data = folder_of("DIPTYCH_DATA", "shared/data")
    retina = survey.survey(data / "retina_vessels")
    assert dict(retina.unread_files) == {"test_vessels_png/": 16, "train_vessels_png/": 35, "val_vessels_png/": 3}
    arrays = survey.survey(data / "mnist").arrays
    assert [(array.name, array.shape, array.split) for array in arrays] == [
        ("x_train", (60000, 28, 28), "train"),
        ("y_train", (60000,), "train"),
        ("x_test", (10000, 28, 28), "test"),
        ("y_test", (10000,), "test"),
    ]


def check(root, code=1, *options):
    result = diptych("data", "check", root, *options)
    assert result.exit_code == code, result.output
    return result.output


def damage(root):
    """A dozen kinds of it, and words that the report must have for each."""
    train, val = root / "train", root / "val"
    (train / "1.jpg").write_bytes(b"")
    cut_short(train / "2.jpg", 0.1)
    (train / "3.jpg").write_text("not an image")
    for number in (4, 5):
        (train / f"{number}.jpg").unlink()
    (train / "4.jpg").symlink_to("nowhere.jpg")
    (train / "5.jpg").mkdir()
    shutil.copy(train / "7.jpg", train / "again.jpg")
    shutil.copy(train / "8.jpg", val / "leak.jpg")
    nine = Image.open(train / "9.jpg")
    nine.save(val / "near.jpg", quality=60)
    nine.crop((0, 0, 256, 256)).save(train / "odd.jpg")
    Image.open(train / "10.jpg").save(train / "10.jpg", "PNG")
    Image.open(train / "11.jpg").convert("L").save(train / "11.jpg")
    Image.new("1", (12000, 12000)).save(train / "bomb.png")
    np.save(train / "nan.npy", np.full((8, 16, 3), np.nan, np.float32))
    (train / "stray").mkdir()
    shutil.copy(train / "12.jpg", train / "stray")
    (train / "moving.gif").touch()
    (train / ".hidden.png").touch()
    return {
        "is empty": "train/1.jpg (0 bytes)",
        "is damaged, cut short": "train/2.jpg (",
        "is not a PNG, JPEG, WebP, BMP, TIFF or binary PNM image": "train/3.jpg",
        "is a link to a file that does not exist": "train/4.jpg",
        "is a folder, not an image": "train/5.jpg",
        "occurs more than once in a split": "train/7.jpg = train/again.jpg",
        "is in more than one split": "train/8.jpg = val/leak.jpg",
        "looks the same in two splits": "train/9.jpg = val/near.jpg",
        "is not twice as wide as high": "train/odd.jpg (256x256)",
        "is a PNG file by its content": "train/10.jpg",
        "other channels than most": "train/11.jpg (1)",
        "is too large": "train/bomb.png (144,000,000",
        "has values that are not finite": "train/nan.npy",
        "not used: ": "train/*.gif (1), train/stray/ (1)",
    }


def test_d1_d3_d5_fourteen_kinds_of_damage_are_reported_in_one_go(tmp_path):
    source = folder_of("DIPTYCH_DATA", "shared/data") / "facades"
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for number in range(1, 41) if split == "train" else range(1, 11):
            shutil.copy(source / split / f"{number}.jpg", tmp_path / split)
    assert "\nno errors" in check(tmp_path, 0)
    expected = damage(tmp_path)
    output = check(tmp_path)
    for kind, names in expected.items():
        assert kind in output
        assert names in output[output.index(kind) :]
    assert "hidden" not in output
    assert output.count("    -> ") == len(expected) - 1
    assert "methods that fit, once the problems above are fixed" in output


def test_d3_verify_finds_a_flipped_bit(tmp_path):
    files = fill(tmp_path / "train", 3, suffix=".jpg", width=64, height=32)
    check(tmp_path, 0)
    flip_bit(files[1])
    check(tmp_path, 0)
    assert "has other bytes" in check(tmp_path, 1, "--verify")


def test_d5_pairs_by_name(tmp_path):
    for side, start in (("A", 0), ("B", 500)):
        fill(tmp_path / f"train{side}", 20, start)
        fill(tmp_path / f"test{side}", 2, start + 900)
    check(tmp_path, 0)
    for number in range(2):
        (tmp_path / "trainA" / f"{number:03}.png").unlink()
    image_io.write(tmp_path / "trainB" / "005.bmp", noise(777))
    output = check(tmp_path)
    assert "2 x has no partner of the same name" in output
    assert "trainB/000.png (none in A)" in output
    assert "2 x has the same name before the suffix as another" in output
    assert "trainB/005.bmp" in output
    assert "cyclegan: 18 + 21 unpaired images, 2 in test, from trainA to trainB" in output


@pytest.mark.parametrize("gone", ["folder", "images"])
def test_d5_a_domain_that_is_empty(tmp_path, gone):
    for split in ("train", "val"):
        for number, side in enumerate(("cat", "dog")):
            fill(tmp_path / split / side, 3, 100 * number + 10 * (split == "val"))
    shutil.rmtree(tmp_path / "val" / "dog")
    if gone == "images":
        (tmp_path / "val" / "dog").mkdir()
    output = check(tmp_path)
    assert "1 x has no images\n      dog in val" in output


@pytest.mark.parametrize("form", ["csv", "celeba"])
def test_d5_labels_that_name_no_file_and_files_without_a_label(tmp_path, form):
    files = fill(tmp_path / "images", 9)
    names = [file.name for file in files]
    rows = [*names[:-1], "lost.png", names[0]]
    if form == "csv":
        text = "name,hair\n" + "".join(f"{name.removesuffix('.png')},1\n" for name in rows)
    else:
        text = f"{len(rows)}\nHair\n" + "".join(f"{name}  -1\n" for name in rows)
    (tmp_path / ("labels.csv" if form == "csv" else "labels.txt")).write_text(text)
    output = check(tmp_path)
    assert survey.TABLE in output
    for kind in ("is in labels", "has no row in labels", "has more than one row in labels"):
        assert f"1 x {kind}" in output
    assert "lost" in output
    assert "images/008.png" in output


SHAPES = {  # folders and how many images each has -> layout, sides
    "stray": ({"train": 3, "train/more": 2, "empty": 0}, survey.SIDE_BY_SIDE, {""}),
    "lost domain": ({"train/cat": 2, "train/dog": 0}, survey.UNPAIRED, {"cat", "dog"}),
    "masks beside": ({"train/cat": 2, "train/dog": 2, "train_masks": 2}, survey.BY_NAME, {"cat", "dog"}),
    "A and B": ({"A/train": 2, "B/train": 4, "B/test": 1}, survey.BY_NAME, {"A", "B"}),
    "nothing in train": ({"trainA": 0, "trainB": 0, "testA": 1}, survey.UNPAIRED, {"A", "B"}),
    "three by split": ({"train/x": 2, "train/y": 2, "train/z": 2, "val/x": 1}, survey.DOMAINS_BY_NAME, {"x", "y", "z"}),
    "one heap": ({"pictures": 2}, survey.UNLABELLED, {"pictures"}),
    "no train": ({"val": 2}, survey.NOTHING, set()),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_folders(tmp_path, name):
    folders, layout, sides = SHAPES[name]
    for number, (folder, count) in enumerate(folders.items()):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        fill(tmp_path / folder, count, 100 * number)
    found = survey.survey(tmp_path)
    assert found.layout == layout
    assert {part.domain for part in found.parts} == sides
    assert isinstance(problems.find_problems(found), list)


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"name\n", b"\0,\0\n", b"a" * 200_000, b'"' + b"x," * 99_999, b"7\n"]
)
@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x.tsv", "x.npz"])
def test_odd_files_beside_images_do_no_harm(tmp_path, name, content):
    fill(tmp_path / "images", 2)
    (tmp_path / name).write_bytes(content)
    found = survey.survey(tmp_path)
    assert found.layout == survey.UNLABELLED
    assert found.tables == ()
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    assert survey.survey(tmp_path).layout == survey.UNLABELLED


def test_channels_that_do_not_go_together_are_wrong(tmp_path):
    fill(tmp_path / "train", 3, suffix=".npy")
    image_io.write(tmp_path / "train" / "five.npy", noise(9, channels=5))
    assert "other channels than most (3)\n      train/five.npy (5)" in check(tmp_path)


def test_arrays_are_checked_and_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.savez(tmp_path / "a.npz", x_train=np.zeros((3, 4), np.uint8), bad=np.array([Trap()], object))
    output = check(tmp_path)
    assert "has pickled Python objects, which are never loaded\n      bad" in output
    assert not (tmp_path / "sprung").exists()
    flip_bit(tmp_path / "a.npz", 150)
    assert "x_train" in check(tmp_path)
    cut_short(tmp_path / "a.npz")
    assert "a.npz" in check(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00nonsense")
    assert "is damaged" in check(tmp_path)


def test_flat_pictures_are_no_copies_and_odd_names_do_no_harm(tmp_path):
    for split, count in (("train", 5), ("val", 2)):
        fill(tmp_path / split, count, 100 * (split == "val"))
        image_io.write(tmp_path / split / f"blank {split}.png", np.full((8, 16, 3), 255, np.uint8))
    check(tmp_path, 0)
    (tmp_path / "train" / "[bold]\x1b[31m\n\udcff.png").touch()
    output = check(tmp_path)
    assert "train/[bold]\\x1b[31m\\n\\udcff.png" in output


def test_more_than_five_are_counted_and_an_empty_folder_is_no_set(tmp_path):
    for file in fill(tmp_path / "train", 12)[:7]:
        file.write_bytes(b"")
    output = check(tmp_path)
    assert "7 x is empty" in output
    assert output.count("(0 bytes)") == 5
    assert "and 2 more" in output
    (tmp_path / "none").mkdir()
    assert "no method fits: there are no images" in check(tmp_path / "none")


def test_a_folder_of_photographs_is_for_methods_that_take_any_images(tmp_path):
    fill(tmp_path, 6, width=96, height=64)
    output = check(tmp_path, 0)
    assert "no method fits: methods need pairs" in output
    assert output.index("these methods train on any images") < output.index(
        f"diptych train gan --data {tmp_path} crop_size=64"
    )
    assert f"diptych train srgan --data {tmp_path} crop_size=64" in output


def test_small_images_get_settings_that_fit(tmp_path):
    for start, side in enumerate("AB"):
        fill(tmp_path / f"train{side}", 6, 10 * start, width=40, height=40)
    lines = [line.strip() for line in check(tmp_path, 0).splitlines()]
    for method, setting in (("munit", "d_layers=3"), ("drit", "d_layers=3"), ("msgan", "receptive_field=34")):
        assert f"diptych train {method} --data {tmp_path} crop_size=32 {setting}" in lines


def test_the_command_that_is_shown_starts_a_training(tmp_path):
    fill(tmp_path / "my set" / "train", 6, width=128, height=64)
    output = check(tmp_path / "my set", 0)
    line = next(line for line in output.splitlines() if "train pix2pix" in line)
    assert line.strip() == f"diptych train pix2pix --data '{tmp_path}/my set' crop_size=64 generator=unet_64"
