"""Protocols that ask networks: judges that paint label maps, judges of domains, extractors of features."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from judged import (
    COLOURS,
    classes,
    fill,
    judge,
    label_map,
    noise,
    photograph,
    sample_folder,
    shades,
    trained,
    two,
    values,
)
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from diptych.contract import Labels
from diptych.errors import EvaluationError
from diptych.evaluation.metrics import on_samples
from diptych.evaluation.metrics.extractors import Extractor, load_extractor
from diptych.evaluation.metrics.palette import Palette
from diptych.evaluation.metrics.segmentation import confusion, mean_iou, pixel_accuracy
from diptych.evaluation.results import check_comparable
from diptych.evaluation.tools import Tools
from diptych.evaluators.classifier import Classifier
from diptych.evaluators.segmenter import Segmenter
from diptych.inference.load import from_run

TINY = {"base_channels": 8, "n_downsample": 2}
PALETTE = tuple(tuple(map(int, colour)) for colour in COLOURS)


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    """A judge of dark and bright pictures, trained."""
    root = tmp_path_factory.mktemp("domains")
    for split, start in (("train", 0), ("val", 50)):
        fill(root / split / "bright", 8, start, make=lambda seed: shades(seed, True))
        fill(root / split / "dark", 8, start, make=lambda seed: shades(seed, False))
    settings = [f"root={root}", "steps=30", "base_channels=8", "n_downsample=2", "batch_size=8", "lr=0.01"]
    return trained(tmp_path_factory.mktemp("run") / "domains", "classifier", *settings)


# ---------------------------------------------------------------------------------------------------------- label maps


def test_label_maps_are_read_by_the_nearest_colour_of_the_true_ones(tmp_path):
    maps = [label_map(seed) for seed in range(6)]
    noisy = [np.clip(m.astype(int) + np.random.RandomState(0).randint(-20, 21, m.shape), 0, 255) for m in maps]
    found, result = values("label-maps", two(tmp_path / "a", [m.astype(np.uint8) for m in noisy], maps))
    assert {name: found[name] for name in ("pixel-accuracy", "class-accuracy", "mean-iou")} == {
        "pixel-accuracy": 1, "class-accuracy": 1, "mean-iou": 1,
    }  # fmt: skip
    assert 0 < found["l1"] < 0.1
    assert "6 label maps of 4 classes, each pixel by its nearest colour" in result.said
    black = [np.zeros_like(m) for m in maps]
    share = float(np.mean([(classes(seed) == 0).mean() for seed in range(6)]))
    found, result = values("label-maps", two(tmp_path / "b", black, maps))
    assert found["pixel-accuracy"] == pytest.approx(share)
    assert found["class-accuracy"] == pytest.approx(1 / 4)
    assert result.score("pixel-accuracy").chance == pytest.approx(
        max(np.bincount(np.concatenate([classes(seed).ravel() for seed in range(6)]))) / (6 * 32 * 32)
    )


def test_the_palette_may_be_that_of_a_judge(tmp_path):
    """Where a class does not occur in the true maps, or they were scaled."""
    maps = [label_map(seed, count=2) for seed in range(4)]
    tools = Tools(evaluator=judge(Segmenter, palette=PALETTE, **TINY))
    _, result = values("label-maps", two(tmp_path, maps, maps), tools)
    assert "4 label maps of 4 classes, each pixel by its nearest colour" in result.said
    assert result.tools["evaluator"].startswith("segmenter ")


def test_maps_and_pictures_of_two_sizes_are_refused_by_the_names_of_their_folders(tmp_path):
    maps, small = ([label_map(seed, side=side) for seed in range(4)] for side in (64, 32))
    with pytest.raises(EvaluationError, match=r"real are 64x64 RGB, .*fake are 32x32"):
        values("label-maps", two(tmp_path / "a", small, maps))
    tools = Tools(evaluator=judge(Segmenter, palette=PALETTE, **TINY))
    for name, columns in {
        "fake": {"source": maps, "fake": small, "truth": maps},
        "source": {"source": small, "fake": maps, "truth": maps},
    }.items():
        with pytest.raises(
            EvaluationError, match=r"the images in .* are .*, those in .* are .*: resize or convert one"
        ):
            values("pix2pix-fcn", sample_folder(tmp_path / name, {"a-b": columns}), tools)


def test_grey_pictures_and_coloured_ones_are_not_held_against_each_other(tmp_path):
    grey, colour = ([noise(seed, (16, 16, channels)) for seed in range(4)] for channels in (1, 3))
    for fakes, reals in ((colour, grey[:3] + grey), (grey, colour + colour)):
        with pytest.raises(EvaluationError, match=r"16x16 (grey|RGB).*16x16 (grey|RGB): resize or convert one"):
            values("unpaired-default", two(tmp_path / str(len(fakes) + fakes[0].shape[2]), fakes, reals))


def test_a_palette_that_is_given_comes_first_and_is_part_of_the_result(tmp_path):
    """It may know classes that the true maps lack, or that are too rare to be found in them."""
    maps = [label_map(seed) for seed in range(4)]
    samples = two(tmp_path, [np.zeros_like(each) for each in maps], maps)
    found, result = values("label-maps", samples)
    assert "palette" not in result.tools
    same, other = values("label-maps", samples, Tools(palette=Palette((*PALETTE, (0, 255, 0)))))
    assert same["class-accuracy"] == found["class-accuracy"] == pytest.approx(1 / 4)
    assert other.tools["palette"] == "#000000 #ff0000 #0080ff #ffffff #00ff00"
    assert "the colours of 5 classes: #000000 #ff0000 #0080ff #ffffff #00ff00" in other.said
    with pytest.raises(EvaluationError, match="palette: none and #000000 #ff0000"):
        check_comparable([result, other])


def test_a_judge_of_classes_is_asked_for_each_picture(tmp_path, domains):
    """Whatever the order of the classes, and whichever of them occur."""
    lights = [True, True, False, True, True]
    samples = two(tmp_path, pictures := [shades(seed, light) for seed, light in enumerate(lights)], pictures)
    labels = ["bright", "dark", "dark", "bright", "bright"]
    rows = [
        row.model_copy(update={"controls": {"label": name}}) for row, name in zip(samples.rows, labels, strict=True)
    ]
    found, result = values(
        "classifier-accuracy", replace(samples, rows=tuple(rows)), Tools(evaluator=from_run(domains))
    )
    assert found == {"accuracy": 0.8, "class-accuracy": (1 + 1 / 2) / 2}
    assert [score.chance for score in result.scores] == [0.6, 0.5]
    assert "5 images of bright, dark" in result.said
    with pytest.raises(EvaluationError, match="the evaluator has no class 'None', only bright, dark"):
        values("classifier-accuracy", samples, Tools(evaluator=from_run(domains)))


@given(st.integers(0, 10**6), st.integers(2, 9))
def test_shares_of_classes_are_those_of_scikit_learn(seed, classes):
    rows = np.random.RandomState(seed).randint(0, classes, (30, 2))
    while not (known := np.isin(rows[:, 1], rows[:, 0])).all():  # of an answer that is no class, scikit-learn warns
        rows = rows[known]
    assume(len(rows))
    assert on_samples._accuracy(rows) == pytest.approx(accuracy_score(*rows.T))
    assert on_samples._mean_class_accuracy(rows) == pytest.approx(balanced_accuracy_score(*rows.T))


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Label maps, photographs of them as their truths, and two translations: as good as those, and of other maps."""
    maps, photos = ([make(seed) for seed in range(8)] for make in (label_map, photograph))
    folder = tmp_path_factory.mktemp("seen")
    perfect = sample_folder(folder / "perfect", {"a-b": {"source": maps, "fake": photos, "truth": photos}})
    wrong = sample_folder(folder / "wrong", {"a-b": {"source": maps, "fake": photos[1:] + photos[:1], "truth": photos}})
    return perfect, wrong


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    root = tmp_path_factory.mktemp("labels")
    for side, make in (("A", photograph), ("B", label_map)):
        fill(root / f"train{side}", 16, 100, make=make)
        fill(root / f"val{side}", 4, 200, make=make)
    palette = f"palette={[list(colour) for colour in PALETTE]}"
    settings = [
        f"root={root}",
        "steps=40",
        "base_channels=8",
        "n_downsample=2",
        "batch_size=8",
        "lr=0.02",
        palette,
        "flip=false",
    ]
    return trained(tmp_path_factory.mktemp("run") / "labels", "segmenter", *settings)


def test_the_fcn_score_is_what_a_segmenter_sees(seen, segmenter):
    tools, (perfect, wrong) = Tools(evaluator=from_run(segmenter)), seen
    best, result = values("pix2pix-fcn", perfect, tools)
    chance = confusion(np.zeros((8, 32, 32), int), np.stack([classes(seed) for seed in range(8)]), 4)
    for name in ("pixel-accuracy", "class-accuracy", "mean-iou"):
        score = result.score(name)
        assert score.value == score.ceiling > 0.8 > score.chance
    assert best["l1"] == 0
    worse, other = values("pix2pix-fcn", wrong, tools)
    for name in ("pixel-accuracy", "class-accuracy", "mean-iou"):
        assert worse[name] < 0.5
        assert other.score(name).ceiling == result.score(name).ceiling
    share = max(chance.sum((0, 2))) / chance.sum()
    assert other.score("pixel-accuracy").chance == pytest.approx(share)
    assert other.score("mean-iou").chance == pytest.approx(share / 4)
    assert mean_iou(chance) < pixel_accuracy(chance)
    assert "a segmenter of 4 classes labels each pixel of 8 images" in result.said


def test_a_judge_that_cannot_say_is_refused(seen, tmp_path):
    perfect, _ = seen
    others = tuple(tuple(255 - level // 2 for level in colour[::-1]) for colour in PALETTE[:2])
    for asked, message in [
        (None, "needs an evaluator network: train one on real images with `diptych evaluator train`"),
        (
            judge(Classifier, labels=(Labels(names=("cat", "dog")),), **TINY),
            "this evaluator is a classifier of cat, dog; the protocol needs a segmenter",
        ),
        (judge(Classifier, labels=(Labels(names=("#1", "#2")),), **TINY), "this evaluator is a classifier"),
        (
            judge(Segmenter, palette=others, **TINY),
            "not label maps of this palette: choose the evaluator of this label set",
        ),
        (judge(Segmenter, palette=PALETTE, in_channels=2, **TINY), "takes 2 channels, and these images have 3"),
        (
            judge(Segmenter, palette=((0,), (255,)), out_channels=1, **TINY),
            "have 3 channels, and the colours of the palette 1",
        ),
    ]:
        with pytest.raises(EvaluationError, match=message):
            values("pix2pix-fcn", perfect, Tools(evaluator=asked))
    pictures = two(tmp_path, [noise(1)] * 4, [noise(2)] * 4)
    with pytest.raises(EvaluationError, match="this evaluator is a segmenter; the protocol needs a classifier"):
        values("unpaired-default", pictures, Tools(evaluator=judge(Segmenter, palette=PALETTE, **TINY)))
    with pytest.raises(EvaluationError, match="takes 2 channels, and these images have 3"):
        values("unpaired-default", pictures, Tools(evaluator=judge(Classifier, in_channels=2, **TINY)))


# ----------------------------------------------------------------------------------------------------- sets of pictures


def test_translations_that_a_judge_takes_for_the_target(tmp_path, domains):
    fakes = [shades(seed, light=seed % 4 > 0) for seed in range(8)]
    samples = two(tmp_path, fakes, [shades(100 + seed, True) for seed in range(5)])
    found, result = values("unpaired-default", samples, Tools(evaluator=from_run(domains)))
    score = result.score("taken-for-target")
    assert (score.value, score.ceiling, score.chance) == (0.75, 1, 0.5)
    assert score.each == (0, 1, 1, 1) * 2
    assert set(found) == {"taken-for-target", "colour/L", "colour/a", "colour/b"}
    assert "a classifier of 2 domains decides which translations are bright" in result.said
    dark = two(tmp_path / "dark", fakes, [shades(100 + seed, False) for seed in range(5)])
    assert values("unpaired-default", dark, Tools(evaluator=from_run(domains)))[0]["taken-for-target"] == 0.25


def test_a_judge_of_attributes_says_what_changed_and_what_stayed(tmp_path):
    """It finds by itself which attribute it was: one that real pictures have and sources lack, or the reverse."""
    labels = (Labels(names=("red", "bright"), kind="attributes"),)
    looks = judge(Classifier, labels=labels, **TINY)
    looks.method.logits = lambda x: torch.stack([x[:, 0].mean((1, 2)) - x[:, 1].mean((1, 2)), x.mean((1, 2, 3))], 1)

    def plain(red, bright):
        return np.full((32, 32, 3), (150 if red else 100, 100 if red else 150, 255 if bright else 0), np.uint8)

    sources = [plain(red, False) for red in (0, 1, 0, 1)]
    fakes = [plain(0, True), plain(1, True), plain(1, True), plain(1, False)]
    reals = [plain(1, True), plain(0, True), plain(0, True), plain(1, True), plain(0, False)]
    columns = {"source": sources, "fake": fakes, "real": reals}
    found, result = values("unpaired-default", sample_folder(tmp_path / "a", {"a-b": columns}), Tools(evaluator=looks))
    score = result.score("taken-for-target")
    assert (score.value, score.ceiling, score.chance) == (0.75, 0.8, 0)
    assert found["others-kept"] == 0.75
    changes = [2 * 255, 2 * 255, 2 * 50 + 2 * 50 + 2 * 255, 0]
    assert found["l1-to-source"] == pytest.approx(sum(changes) / 4 / 255 / 3, rel=1e-5)
    assert "a classifier of 2 attributes decides which translations have bright" in result.said
    back = {"source": reals, "fake": [reals[0], *sources], "real": sources}
    found, result = values("unpaired-default", sample_folder(tmp_path / "b", {"a-b": back}), Tools(evaluator=looks))
    assert found["taken-for-target"] == 0.8
    assert "a classifier of 2 attributes decides which translations lack bright" in result.said


def test_identity_is_kept_where_embeddings_agree(tmp_path):
    """Distance 0 to itself, 1 to an image whose embedding is orthogonal; chance is that to another source."""
    dark, light = (np.full((32, 32, 3), level, np.uint8) for level in (0, 255))
    axes = torch.eye(2)
    extractor = Extractor("axes", "a" * 64, 2, lambda x: axes[(x.float().mean((1, 2, 3)) > 128).long()])
    columns = {"source": [dark, dark, light, light], "fake": [dark, light, light, light], "real": [light] * 4}
    tools = Tools(extractor=extractor, caches_features=False)
    _, result = values("attribute-transfer", sample_folder(tmp_path, {"a-b": columns}), tools)
    (score,) = (score for score in result.scores if score.name == "identity-distance")
    assert (score.value, score.chance) == (pytest.approx(0.25), pytest.approx(0.75))


def test_a_judge_lends_its_features_and_few_pictures_are_told(tmp_path, domains):
    """Fewer pictures than features: FID is far off, and KID is named as the way out."""
    tools = Tools(extractor=load_extractor(str(domains.folder)))
    alike = two(tmp_path / "a", *([shades(start + seed, True) for seed in range(10)] for start in (0, 100)))
    far = two(tmp_path / "b", *([shades(seed, light) for seed in range(10)] for light in (True, False)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, result = values("unpaired-default", alike, tools)
    assert {"fid", "kid", "precision", "recall"} < set(found)
    assert any("KID" in line and "10 images" in line for line in result.said), result.said
    assert (
        f"10 translations against 10 real images by evaluator:classifier, {tools.extractor.size} features"
        in result.said
    )
    assert result.tools == {"extractor": f"evaluator:classifier {tools.extractor.digest[:16]}"}
    apart, _ = values("unpaired-default", far, tools)
    assert apart["kid"] > 10 * abs(found["kid"])
    assert apart["precision"] == apart["recall"] == 0
    few = two(tmp_path / "c", [noise(seed) for seed in range(7)], [noise(seed) for seed in range(9)])
    found, result = values("unpaired-default", few, tools)
    assert set(found) == {"colour/L", "colour/a", "colour/b"}
    assert any("no FID and KID: 7 images are too few; at least 8 are needed" in line for line in result.said)
