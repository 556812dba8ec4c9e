"""How the training images were stored and resized: described, kept with the run and the model, told before training."""

import json

import numpy as np
import pytest
from commands import TINY, diptych
from pydantic import ValidationError
from sets import cache, noise  # noqa: F401

from diptych.contract import DataKind
from diptych.data.checks.unreadable import check_images
from diptych.data.config import DataConfig
from diptych.data.image_format import ImageFormat, TrainingImages, describe_images, direction_notes, direction_of
from diptych.data.images import image_io
from diptych.data.open import open_data
from diptych.errors import RunError
from diptych.inference.load import load
from diptych.runs.folder import Run

PAIRED, UNPAIRED = DataKind.PAIRED, DataKind.UNPAIRED


def fill(folder, count=4, width=32, height=32, channels=3, dtype=np.uint8, start=0):
    for number in range(count):
        pixels = noise(start + number, width, height, channels).astype(dtype)
        image_io.write(folder / f"{number}.png", pixels * (257 if dtype == np.uint16 else 1))


def scanned(root, kind=PAIRED, **settings):
    config = DataConfig(root=str(root), **settings)
    return check_images(open_data(config, kind), config)[0], config


def formats(root, kind=PAIRED, **settings):
    return describe_images(*scanned(root, kind, **settings))


def test_each_batch_entry_is_described(tmp_path):
    fill(tmp_path / "trainA", width=40, height=30)
    fill(tmp_path / "trainB", channels=1, dtype=np.uint16, start=50)
    image_io.write(tmp_path / "trainA" / "3.png", noise(9, 400, 300))
    found = formats(tmp_path, crop_size=32, load_size=64, resize_mode="short_side")
    assert (found.crop, found.load, found.fit) == (32, 64, "short_side")
    assert found.entries == {
        "source": ImageFormat(domain="trainA", dtype="uint8", height=30, width=40),
        "target": ImageFormat(domain="trainB", dtype="uint16", height=32, width=32),
    }


def test_the_size_of_an_image_in_a_side_by_side_file_is_that_of_its_half(tmp_path):
    fill(tmp_path / "train", width=64)
    for direction, halves in (("a2b", (0, 1)), ("b2a", (1, 0))):
        found = formats(tmp_path, direction=direction).entries
        assert tuple(each.half for each in found.values()) == halves
        assert {(each.height, each.width) for each in found.values()} == {(32, 32)}
        assert found["source"].domain == f"{('left', 'right')[halves[0]]} half of train/"


@pytest.mark.parametrize("settings", [{"crop_mode": "random_resized"}, {"random_crop_until": 0}])
def test_where_nothing_is_resized_to_load_it_is_crop(tmp_path, settings):
    fill(tmp_path / "train", width=64)
    assert formats(tmp_path, crop_size=32, load_size=64, **settings).load == 32


@pytest.mark.parametrize("names", [PAIRED, UNPAIRED])
@pytest.mark.parametrize(
    ("folders", "domains"),
    [
        (("clean", "raw"), ("clean", "raw")),
        (("trainA", "trainB"), ("trainA", "trainB")),
        (("A/train", "B/train"), ("A", "B")),
        (("train/cat", "train/dog"), ("cat", "dog")),
    ],
)
def test_the_direction_has_the_names_of_both_folders(tmp_path, folders, domains, names):
    for number, folder in enumerate(folders):
        fill(tmp_path / folder, start=10 * number)
    a, b = domains
    assert direction_of(*scanned(tmp_path, names)) == f", from {a} to {b} (direction=b2a reverses it)"
    back = scanned(tmp_path, names, direction="b2a")
    assert direction_of(*back) == f", from {b} to {a} (direction=a2b reverses it)"
    assert [each.domain for each in describe_images(*back).entries.values()] == [b, a]


def test_letters_and_attributes_name_their_domains(tmp_path):
    assert [each.domain for each in formats("glyphs:sans/mono", crop_size=32).entries.values()] == ["sans", "mono"]
    fill(tmp_path / "images", 100, 8, 8)
    rows = "".join(f"{number}.png,{number % 2}\n" for number in range(100))
    (tmp_path / "labels.csv").write_text("name,hat\n" + rows)
    found = formats(tmp_path, UNPAIRED, attributes=("hat",), direction="b2a")
    assert [each.domain for each in found.entries.values()] == ["with hat", "without hat"]


def test_labelled_images_have_no_direction(tmp_path):
    for number, name in enumerate(("cat", "dog", "owl")):
        for split in ("train", "val"):
            fill(tmp_path / split / name, start=10 * number + 100 * (split == "val"))
    data, config = scanned(tmp_path, DataKind.LABELLED)
    assert direction_of(data, config) == ""
    assert direction_notes(data, config) == ()
    assert list(describe_images(data, config).entries) == ["image"]


def test_that_the_alphabet_chose_the_source_is_noted(tmp_path):
    for number, folder in enumerate(("raw", "clean")):
        fill(tmp_path / "plain" / folder, start=10 * number)
        fill(tmp_path / "named" / f"train{'AB'[number]}", start=10 * number)
        fill(tmp_path / "double" / "train", width=64)
    note = "clean is the source only by alphabetical order; direction=b2a goes from raw to clean"
    assert direction_notes(*scanned(tmp_path / "plain")) == (note,)
    assert direction_notes(*scanned(tmp_path / "plain", UNPAIRED)) == (note,)
    assert direction_notes(*scanned(tmp_path / "plain", direction="b2a")) == ()
    assert direction_notes(*scanned(tmp_path / "plain", folders=("raw", "clean"))) == ()
    assert direction_notes(*scanned(tmp_path / "named")) == direction_notes(*scanned(tmp_path / "double")) == ()


def test_a_changed_aspect_ratio_is_noted_with_the_setting_that_keeps_it(tmp_path):
    for number, side in enumerate("AB"):
        fill(tmp_path / f"train{side}", width=64 if side == "B" else 32, start=10 * number)
    (note,) = direction_notes(*scanned(tmp_path, UNPAIRED))
    assert "trainB" in note
    assert "aspect ratio by 2.0" in note
    assert "resize_mode=short_side" in note
    assert (
        "resize_mode=center_square"
        in direction_notes(*scanned(tmp_path, UNPAIRED, crop_mode="random_resized", resize_mode="short_side"))[0]
    )
    for fit in ("short_side", "center_square", "none"):
        assert direction_notes(*scanned(tmp_path, UNPAIRED, resize_mode=fit, crop_size=32)) == ()


def stored(fit="squash", height=128, width=128, crop=32, load=36):
    source = ImageFormat(domain="a", height=height, width=width)
    return TrainingImages(crop=crop, load=load, fit=fit, entries={"source": source})


@pytest.mark.parametrize(
    ("images", "size", "expected"),
    [
        (stored(), (128, 128), (32, 32)),
        (stored(), (512, 512), (32, 32)),
        (stored(), (128, 256), (32, 64)),  # more of the scene: nothing is pressed that was not in training
        (stored(height=64, width=256), (128, 512), (32, 32)),
        (stored("short_side"), (100, 200), (32, 64)),
        (stored("center_square"), (200, 100), (64, 32)),
        (stored("none"), (100, 200), (100, 200)),
        (stored("short_side", load=128), (256, 512), (128, 256)),  # crops of larger images
    ],
)
def test_the_size_at_the_scale_of_training(images, size, expected):
    assert images.resized("source", *size) == expected


@pytest.mark.parametrize(("saved", "present"), [("short", "short_side"), ("centre", "center_square"), ("none", "none")])
def test_a_resize_mode_that_an_earlier_version_saved_is_read(saved, present):
    source = {"domain": "a", "height": 8, "width": 8}
    text = json.dumps({"crop": 32, "load": 36, "fit": saved, "entries": {"source": source}})
    assert TrainingImages.model_validate_json(text).fit == present


def test_an_unknown_resize_mode_is_refused():
    with pytest.raises(ValidationError, match="fit"):
        stored("stretch")


def test_the_scale_of_images_of_an_entry_that_is_not_known_is_theirs():
    assert stored().scale_of("source", 128, 128) == 4
    assert stored().scale_of("low", 128, 128) == 1


@pytest.fixture(scope="module")
def two_folders(tmp_path_factory):
    """A run of one step, from `clean` to `raw`, which is deeper; and what was printed."""
    root = tmp_path_factory.mktemp("pairs")
    fill(root / "data" / "raw", channels=1, dtype=np.uint16)
    fill(root / "data" / "clean", start=10)
    words = [word for word in TINY if word != "root=glyphs"]
    said = diptych("train", "pix2pix", *words, "steps=1", "-d", root / "data", "-o", root / "run").stdout
    return root / "run", said.splitlines()


def test_the_first_line_of_train_and_resume_names_the_direction(two_folders):
    run, said = two_folders
    resumed = diptych("resume", run).stdout.splitlines()
    for lines in (said, resumed):
        assert lines[0].endswith("data: 4 pairs, from clean to raw (direction=b2a reverses it)")
        assert lines[1].startswith("clean is the source only by alphabetical order")


def test_the_run_and_its_model_keep_how_the_training_images_were_stored(two_folders, tmp_path):
    run, _ = two_folders
    expected = TrainingImages(
        crop=32,
        load=36,
        fit="squash",
        entries={
            "source": ImageFormat(domain="clean", height=32, width=32),
            "target": ImageFormat(domain="raw", dtype="uint16", height=32, width=32),
        },
    )
    assert load(run, device="cpu").images == load(run / "model", device="cpu").images == expected
    card = (run / "model" / "README.md").read_text()
    assert "| `source` | `clean` | 32 x 32 | uint8 |" in card
    assert "`raw`" in card
    again = load(run / "model", device="cpu").save(tmp_path / "again")
    assert json.loads((again / "config.json").read_text()) == json.loads((run / "model" / "config.json").read_text())


def test_resume_writes_the_description_again_and_old_runs_do_without(two_folders):
    run, _ = two_folders
    text = (run / "data.json").read_text()
    (run / "data.json").unlink()
    assert load(run, device="cpu").images is None
    (run / "data.json").write_text(text[:-20])
    with pytest.raises(RunError, match=r"data\.json.*diptych resume"):
        load(run, device="cpu")
    diptych("resume", run)
    assert (run / "data.json").read_text() == text
    assert Run.open(run).training_images() == TrainingImages.model_validate_json(text)


def commands(root):
    """The output of `data check`, and the command that it shows for each method."""
    lines = [line.strip() for line in diptych("data", "check", root).stdout.splitlines()]
    return lines, {line.split()[2]: line for line in lines if line.startswith("diptych train")}


@pytest.mark.parametrize("smallest", [64, 48])
def test_data_check_fits_the_command_to_images_much_larger_than_the_crop(tmp_path, smallest):
    for number, side in enumerate("AB"):
        fill(tmp_path / f"train{side}", width=120, height=120, start=10 * number)
        fill(tmp_path / f"val{side}", 2, width=120, height=120, start=10 * number + 50)
        image_io.write(tmp_path / f"train{side}" / "small.png", noise(90 + number, smallest, smallest))
    lines, shown = commands(tmp_path)
    fit = "resize_mode=none" if smallest == 64 else "resize_mode=short_side load_size=120"
    assert shown["pix2pix"].endswith(f"crop_size=64 generator=unet_64 {fit}")
    assert any(line.startswith("images are 1.9 times as large as crop_size=64") for line in lines)
    assert "resize_mode=" not in shown["starganv2"]
    words = [
        *shown["pix2pix"].split()[1:],
        "steps=1",
        "ngf=4",
        "ndf=4",
        "receptive_field=16",
        "workers=0",
        "device=cpu",
    ]
    assert diptych(*words, "-o", tmp_path / "run").exit_code == 0


def test_data_check_warns_about_strips_and_names_the_setting_that_keeps_them(tmp_path):
    fill(tmp_path / "trainA", width=96)
    fill(tmp_path / "trainB", start=10)
    lines, _ = commands(tmp_path)
    at = next(number for number, line in enumerate(lines) if "longer side is more than 1.5 times" in line)
    assert lines[at + 1] == "A (3.0)"
    assert "resize_mode=short_side" in lines[at + 2]
    for file in (tmp_path / "trainB").iterdir():
        image_io.write(file, noise(50 + int(file.stem), 96, 32))
    assert commands(tmp_path)[1]["cyclegan"].endswith("crop_size=32 generator=resnet_6 resize_mode=short_side")
