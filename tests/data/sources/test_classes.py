"""Images with a class each, from a folder of any layout to an evaluator network that has learned them."""

import numpy as np
import pytest
import torch
from commands import diptych, files
from judged import COLOURS, PIX2PIX, fill, label_map, offline, pairs, shades  # noqa: F401

from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.image_columns import ImageFiles
from diptych.data.images import image_io
from diptych.data.open import open_data
from diptych.data.sources import glyphs
from diptych.errors import ConfigError, DataError, EvaluationError
from diptych.evaluation.results import read_result
from diptych.inference.load import load
from diptych.runs.events import read_events
from diptych.settings import recipe
from diptych.workflows.train_evaluator import evaluator_recipe

QUICK = [
    "crop_size=32",
    "batch_size=8",
    "workers=0",
    "device=cpu",
    "precision=fp32",
    "lr=0.02",
    "base_channels=8",
    "n_downsample=2",
]


def opened(root, **settings):
    return open_data(DataConfig(root=str(root), **settings), DataKind.LABELLED)


def named(split):
    """The folders and names of the files, by class number."""
    column, labels = split.columns["image"], split.columns["label"]
    assert isinstance(column, ImageFiles)
    return [(number, str(file.parent.name), file.stem) for number, file in zip(labels, column.files, strict=True)]


def bright_and_dark(root, train=8, val=6):
    for split, count, start in (("train", train, 0), ("val", val, 50)):
        for name, light in (("dark", False), ("bright", True)):
            fill(root / split / name, count, start, make=lambda seed, light=light: shades(seed, light))
    return root


# ---------------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("held_out", [(), ("val",), ("test",), ("val", "test")])
def test_a_folder_for_each_class_in_each_split(tmp_path, held_out):
    for split, count in (("train", 40), *((name, 3) for name in held_out)):
        for name in ("dog", "cat", "wild"):
            fill(tmp_path / split / name, count, shape=(8, 8, 3))
    data = opened(tmp_path)
    assert data.labels[0].names == ("cat", "dog", "wild")
    assert data.train.aligned
    assert (data.test is not None) == ("test" in held_out)
    if held_out:
        expected = [(at, name, f"{number:03}") for at, name in enumerate(data.labels[0].names) for number in range(40)]
        assert named(data.train) == expected
        assert data.held_out.columns["image"].files[0].parent.parent.name == held_out[0]
        assert len(data.held_out) == 9
        assert data.summary == f"{tmp_path}: 40 cat, 40 dog, 40 wild; 9 in {held_out[0]}"
    else:
        assert len(data.train) + len(data.held_out) == 120
        assert not set(named(data.train)) & set(named(data.held_out))
        assert data.notes == (f"no val or test folder: {len(data.held_out)} images are held out, chosen by name",)


def test_two_sides_are_two_classes(tmp_path):
    for split in ("train", "test"):
        for number, side in enumerate("AB"):
            fill(tmp_path / f"{split}{side}", 2 + number, shape=(8, 8, 3))
    data = opened(tmp_path)
    assert data.labels[0].names == ("A", "B")
    assert [number for number, *_ in named(data.train)] == [0, 0, 1, 1, 1]
    assert [folder for _, folder, _ in named(data.held_out)] == ["testA"] * 2 + ["testB"] * 3


def test_plain_folders_hold_out_the_same_names_of_each_class(tmp_path):
    for name in ("b", "a", "c"):
        fill(tmp_path / name, 60, shape=(8, 8, 3))
    data = opened(tmp_path)
    assert data.labels[0].names == ("a", "b", "c")
    kept = {name: {stem for _, folder, stem in named(data.held_out) if folder == name} for name in "abc"}
    assert kept["a"] == kept["b"] == kept["c"] != set()
    assert [number for number, *_ in named(data.held_out)] == sorted(number for number, *_ in named(data.held_out))
    assert named(opened(tmp_path).held_out) == named(data.held_out)


@pytest.mark.parametrize(("fraction", "held_out"), [(0.1, (2, 4)), (0.5, (10, 20)), (0.001, (1, 1))])
def test_a_fraction_of_each_class_is_held_out(tmp_path, fraction, held_out):
    for name, count in (("angry", 20), ("happy", 40)):
        fill(tmp_path / name, count, shape=(8, 8, 3))
    data = opened(tmp_path, holdout_fraction=fraction)
    numbers = [number for number, *_ in named(data.held_out)]
    assert (numbers.count(0), numbers.count(1)) == held_out
    everything = sorted(named(data.train) + named(data.held_out))
    assert everything == [(0, "angry", f"{n:03}") for n in range(20)] + [(1, "happy", f"{n:03}") for n in range(40)]
    assert named(opened(tmp_path, holdout_fraction=fraction).held_out) == named(data.held_out)


def test_a_fraction_beside_splits_is_refused(tmp_path):
    for split in ("train", "test"):
        for name in ("angry", "happy"):
            fill(tmp_path / split / name, 2, shape=(8, 8, 3))
    chosen = recipe.load_recipe("stargan", [f"root={tmp_path}", "holdout_fraction=0.1", "batch_size=2"])
    with pytest.raises(ConfigError, match=r"holdout_fraction=0.1 is for a folder for each class without splits"):
        chosen.with_data_defaults(chosen.open_data())


@pytest.mark.parametrize("layout", ["train/{}", "{}"])
def test_of_many_classes_two_may_be_chosen(tmp_path, layout):
    for name in ("cat", "dog", "wild"):
        fill(tmp_path / layout.format(name), 60, shape=(8, 8, 3))
    (tmp_path / layout.format("empty-for-now")).mkdir()
    data = opened(tmp_path, folders=("wild", "cat"))
    assert data.labels[0].names == ("cat", "wild")
    assert {(number, folder) for number, folder, _ in named(data.train)} == {(0, "cat"), (1, "wild")}
    with pytest.raises(DataError, match=r"train has no folder dgo; there are cat, dog"):
        opened(tmp_path, folders=("cat", "dgo"))


def test_folders_of_splits_are_no_classes(tmp_path):
    """Pairs side by side in train/ and val/: an evaluator of splits is of no use."""
    for split in ("train", "val"):
        fill(tmp_path / split, 3, shape=(8, 16, 3))
    with pytest.raises(DataError, match="at least two classes are required"):
        opened(tmp_path)


def test_what_is_stray_missing_or_empty_is_named(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path}: at least two classes are required. Use a folder for each"):
        opened(tmp_path)
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            fill(tmp_path / split / name, 2, shape=(8, 8, 3))
    fill(tmp_path / "val" / "wild", 1, shape=(8, 8, 3))
    with pytest.raises(DataError, match=f"{tmp_path}: val has wild, which train does not have: remove it"):
        opened(tmp_path)
    opened(tmp_path, folders=("cat", "dog"))
    (tmp_path / "train" / "wild").mkdir()
    with pytest.raises(DataError, match=f"{tmp_path}: wild in train has no images: add images, or remove the folder"):
        opened(tmp_path)
    fill(tmp_path / "train" / "wild", 2, shape=(8, 8, 3))
    opened(tmp_path)
    for file in (tmp_path / "val" / "dog").iterdir():
        file.unlink()
    (tmp_path / "val" / "dog").rmdir()
    with pytest.raises(DataError, match=f"{tmp_path}: val has no folder dog; there are cat, wild"):
        opened(tmp_path)


def test_too_few_to_hold_any_out_is_told(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / name, 2, shape=(8, 8, 3))
    with pytest.raises(DataError, match="too few images to hold any out; put some images of each class into val/"):
        opened(tmp_path)


def test_letters_have_their_face_as_class():
    data = opened("glyphs:serif/mono-bold/sans", crop_size=32)
    assert data.labels[0].names == ("serif", "mono-bold", "sans")
    assert (np.bincount(data.held_out.columns["label"]) == len(data.held_out) // 3).all()
    where = glyphs.split_indices()["val"]
    for at, label in enumerate(data.held_out.columns["label"][:30]):
        shown = glyphs.render_letters(data.labels[0].names[label], 32)[where[at // 3]]
        assert np.array_equal(data.held_out.columns["image"][at], shown)
    assert opened("glyphs", crop_size=32).labels[0].names == glyphs.FACES
    assert opened("glyphs:serif", crop_size=32).labels[0].names == tuple(glyphs.LATIN), "of one face"
    with pytest.raises(DataError, match="with two or more of"):
        opened("glyphs:serif/roman", crop_size=32)


def test_a_recipe_learns_classes_and_channels_from_the_data(tmp_path):
    for name in ("cat", "dog", "wild"):
        fill(tmp_path / "train" / name, 2, shape=(8, 8, 1))
        fill(tmp_path / "val" / name, 1, shape=(8, 8, 1))
    chosen = recipe.load_recipe("classifier", [f"root={tmp_path}", "epochs=3", "batch_size=4"])
    fitted = chosen.with_data_defaults(open_data(chosen.data, chosen.cls.data, tuple(chosen.cls.batch)))
    assert (fitted.model.labels[0].names, fitted.model.in_channels, fitted.model.steps) == (
        ("cat", "dog", "wild"),
        1,
        5,
    )
    net = fitted.cls(fitted.model)
    assert net.logits(torch.zeros(2, 1, 32, 32)).shape == (2, 3)
    assert net.channels() == {"image": 1}


# ----------------------------------------------------------------------------------------------------------- evaluators


def test_a_classifier_learns_two_obvious_classes(tmp_path):
    root, out = bright_and_dark(tmp_path / "data"), tmp_path / "evaluator"
    words = ["evaluator", "train", "classifier", "-d", root, "-o", out, *QUICK, "steps=30", "log_every=10"]
    done = diptych(*words, env={"COLUMNS": "160"})
    assert "classifier-accuracy/1 of evaluator" in done.stdout
    found = read_result(out / "results" / "classifier-accuracy.json")
    accuracy = found.score("accuracy")
    assert (accuracy.value, accuracy.chance, accuracy.count) == (1, 0.5, 12)
    assert found.score("class-accuracy").value == 1
    assert (found.about, found.said) == ({"data": "data", "split": "held out"}, ("12 images of bright, dark",))
    method = load(out).method
    assert method.classes() == ("bright", "dark")
    assert method.features(torch.zeros(2, 3, 32, 32)).shape == (2, 16)
    before = (out / "results" / "classifier-accuracy.json").read_text()
    diptych(*words)  # goes on with what is done: the same result, and no step more
    assert (out / "results" / "classifier-accuracy.json").read_text() == before
    assert [event["step"] for event in read_events(out / "events.jsonl") if event["event"] == "step"] == [10, 20, 30]
    wrong = [event["error"]["wrong"] for event in read_events(out / "events.jsonl") if event["event"] == "preview"]
    assert wrong[-1:] == [0]


def test_an_evaluator_of_attributes_says_how_well_it_reads_each(tmp_path):
    words = [
        "evaluator",
        "train",
        "classifier",
        "-d",
        "glyphs",
        "-o",
        tmp_path / "evaluator",
        "attributes=[bold,serif]",
    ]
    done = diptych(*words, *QUICK, "flip=false", "steps=100", "batch_size=16", "lr=0.005", env={"COLUMNS": "160"})
    assert "classifier-accuracy/1 of evaluator" in done.stdout
    found = read_result(tmp_path / "evaluator" / "results" / "classifier-accuracy.json")
    each = [found.score(f"accuracy {name}") for name in ("bold", "serif")]
    assert [score.chance for score in each] == pytest.approx([1 / 2, 2 / 3])
    assert each[0].value > 0.65
    assert found.score("accuracy").value == pytest.approx(sum(score.value for score in each) / 2)
    assert load(tmp_path / "evaluator").method.classes() == ("bold", "serif")


def test_an_evaluator_is_not_continued_by_another_name_or_from_other_images(tmp_path):
    root, out = bright_and_dark(tmp_path / "data", 2, 1), tmp_path / "evaluator"
    words = ["-o", out, *QUICK, "steps=1"]
    diptych("evaluator", "train", "classifier", "-d", root, *words)
    before = files(out)
    with pytest.raises(ConfigError, match=f"{out} holds a classifier, not a segmenter: choose another folder with -o"):
        diptych("evaluator", "train", "segmenter", "-d", root, *words)
    with pytest.raises(ConfigError, match=r"steps: 1 -> 2"):
        diptych("evaluator", "train", "classifier", "-d", root, *words[:-1], "steps=2")
    image_io.write(root / "train" / "dark" / "999.png", shades(9, False))
    with pytest.raises(ConfigError, match=r"images: "):
        diptych("evaluator", "train", "classifier", "-d", root, *words)
    assert files(out) == before
    for kind in ("clasifier", "pix2pix"):
        with pytest.raises(ConfigError, match=f"'{kind}' is not an evaluator network"):
            evaluator_recipe(kind, [f"root={root}"])
        refused = diptych("evaluator", "train", kind, "-d", root, "-o", tmp_path / "other")
        assert refused.exit_code == 2
        assert f"'{kind}' is not one of" in refused.output


def test_a_segmenter_finds_the_palette_and_learns_it(tmp_path):
    root, out = pairs(tmp_path / "data", 16, 6), tmp_path / "evaluator"
    words = ["evaluator", "train", "segmenter", "-d", root, "-o", out, *QUICK, "steps=40", "flip=false"]
    diptych(*words, env={"COLUMNS": "160"})
    found = read_result(out / "results" / "label-maps.json")
    for name in ("pixel-accuracy", "class-accuracy", "mean-iou"):
        assert found.score(name).chance < 0.5 < 0.8 < found.score(name).value
    assert found.score("pixel-accuracy").count == 6
    method = load(out).method
    assert set(method.config.palette) == {tuple(map(int, colour)) for colour in COLOURS}
    assert all(len(name) == 7 and name.startswith("#") for name in method.classes())
    painted = image_io.read(out / "samples" / "label-maps" / "fake" / "source-target" / "00000-000.png")
    assert {tuple(pixel) for pixel in painted.reshape(-1, 3).tolist()} <= set(method.config.palette)
    share = (painted == label_map(500)).all(2).mean()
    assert share > 0.8
    diptych(*words)
    assert read_result(out / "results" / "label-maps.json").scores == found.scores


def test_label_maps_of_one_channel_and_of_both_kinds(tmp_path):
    """Some saved as grey, some as colour."""
    root = pairs(tmp_path / "data", 6, 2)
    levels = np.array([[0], [80], [160], [240]], np.uint8)
    for split in ("train", "val"):
        for at, file in enumerate(sorted((root / f"{split}B").iterdir())):
            pixels = levels[np.random.default_rng(at).integers(0, 4, (4, 4)).repeat(8, 0).repeat(8, 1)]
            image_io.write(file, pixels)
    grey = evaluator_recipe("segmenter", [f"root={root}", *QUICK])
    assert (set(grey.model.palette), grey.model.out_channels) == ({(0,), (80,), (160,), (240,)}, 1)
    first = root / "trainB" / "000.png"
    image_io.write(first, np.repeat(image_io.read(first), 3, 2))
    mixed = evaluator_recipe("segmenter", [f"root={root}", *QUICK])
    assert (set(mixed.model.palette), mixed.model.out_channels) == ({(level,) * 3 for level in (0, 80, 160, 240)}, 3)
    data = open_data(mixed.data, mixed.cls.data, tuple(mixed.cls.batch))
    assert mixed.with_data_defaults(data).model.palette == mixed.model.palette


def test_a_palette_may_be_given_and_photographs_have_none(tmp_path):
    root = pairs(tmp_path / "data", 4, 2)
    given = evaluator_recipe("segmenter", [f"root={root}", "palette=[[0,0,0],[255,255,255]]", *QUICK])
    assert given.model.palette == ((0, 0, 0), (255, 255, 255))
    with pytest.raises(EvaluationError, match=r"these are not label maps.*change direction"):
        evaluator_recipe("segmenter", [f"root={root}", "direction=b2a", *QUICK])
    (root / "trainB" / "001.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 of 12 images cannot be used(?s:.*)trainB/001\.png"):
        evaluator_recipe("segmenter", [f"root={root}", *QUICK])


def test_an_evaluator_is_no_translator(tmp_path):
    root = bright_and_dark(tmp_path / "data", 2, 1)
    diptych("evaluator", "train", "classifier", "-d", root, "-o", tmp_path / "evaluator", *QUICK, "steps=1")
    with pytest.raises(EvaluationError, match="classifier does not translate images"):
        diptych("predict", tmp_path / "evaluator", "-o", tmp_path / "s")
    with pytest.raises(EvaluationError, match="classifier does not translate images"):
        diptych("evaluate", tmp_path / "evaluator", "--extractor", "none")


def test_with_twins_a_name_is_one_image_of_each_class(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / "train" / name, 3)
        fill(tmp_path / "val" / name, 2)
    assert opened(tmp_path, matched_names=True).train.scene_ids[:3] == ["000", "001", "002"]
    fill(tmp_path / "train" / "dog", 1, suffix=".bmp")
    with pytest.raises(DataError, match="dog has two images with this name, and matched_names=true"):
        opened(tmp_path, matched_names=True)


def test_images_to_judge_alone_are_nothing_to_train_on(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / "test" / name, 3)
    with pytest.raises(DataError, match=r"has test, but no training images: put a folder for each class into train/"):
        opened(tmp_path)
