"""Ignored colours of label maps: dropped where they are true, wrong where they are predicted, not trained on."""

import numpy as np
import pytest
import torch
from commands import diptych
from judged import COLOURS, classes, fill, judge, label_map, offline, photograph, sample_folder, two, values  # noqa: F401
from sklearn.metrics import accuracy_score, jaccard_score, recall_score

from diptych.data.images import image_io
from diptych.errors import ConfigError, EvaluationError
from diptych.evaluation.metrics.palette import Palette, find_palette, parse_ignored
from diptych.evaluation.metrics.segmentation import (
    class_accuracy,
    class_accuracy_of_all,
    confusion,
    majority,
    mean_iou,
    mean_iou_of_all,
    pixel_accuracy,
)
from diptych.evaluation.metrics.table import LABEL_MAPS
from diptych.evaluation.results import check_comparable
from diptych.evaluation.tools import Tools
from diptych.evaluators.segmenter import Segmenter
from diptych.workflows.evaluate_runs import EvaluationSettings
from diptych.workflows.experiment import read_experiment
from diptych.workflows.train_evaluator import evaluator_recipe

PALETTE = tuple(tuple(map(int, colour)) for colour in COLOURS)
TINY = {"base_channels": 4, "n_downsample": 2}


def script_of_the_paper(truth, predicted, count):
    """`get_scores` of pix2pix's scripts/eval_cityscapes, in its own words; ids from `count` on are void."""
    k = (truth >= 0) & (truth < count)
    hist = np.bincount(count * truth[k].astype(int) + predicted[k], minlength=count**2).reshape(count, count)
    acc = np.diag(hist).sum() / (hist.sum() + 1e-12)
    cl_acc = np.diag(hist) / (hist.sum(1) + 1e-12)
    iu = np.diag(hist) / (hist.sum(1) + hist.sum(0) - np.diag(hist) + 1e-12)
    return acc, np.nanmean(cl_acc), np.nanmean(iu)


def test_the_means_over_all_classes_are_those_of_the_papers_script():
    """Of 6 classes 4 occur, 6 and 7 are void."""
    random = np.random.RandomState(0)
    truth, predicted = random.choice([0, 1, 2, 4, 6, 7], (3, 9, 9)), random.choice([0, 1, 2, 4], (3, 9, 9))
    table = confusion(predicted, truth, 6, ignored=2)
    expected = script_of_the_paper(truth.ravel(), predicted.ravel(), 6)
    found = [statistic(table) for statistic in (pixel_accuracy, class_accuracy_of_all, mean_iou_of_all)]
    assert found == pytest.approx(expected, rel=1e-9)
    assert class_accuracy(table) == pytest.approx(6 / 4 * expected[1])
    assert mean_iou(table) == pytest.approx(6 / 4 * expected[2])


def test_true_ignored_pixels_are_dropped_and_predicted_ones_are_wrong():
    truth, predicted = np.array([[[0, 0, 1, 1, 2, 2, 3]]]), np.array([[[0, 2, 1, 3, 2, 0, 1]]])
    table = confusion(predicted, truth, 2, ignored=2)
    np.testing.assert_array_equal(table, [[[1, 0, 1], [0, 1, 1]]])
    kept = truth < 2
    pixels = truth[kept], predicted[kept]
    assert pixel_accuracy(table) == accuracy_score(*pixels) == 0.5
    assert class_accuracy(table) == recall_score(*pixels, labels=[0, 1], average="macro")
    assert mean_iou(table) == jaccard_score(*pixels, labels=[0, 1], average="macro")
    np.testing.assert_array_equal(majority(table), [[[2, 0, 0], [2, 0, 0]]])
    with pytest.raises(EvaluationError, match="with 4 classes they are 0 to 3"):
        confusion(predicted, truth + 1, 2, ignored=2)
    with pytest.raises(EvaluationError, match="no pixels to evaluate: all of them have an ignored class"):
        pixel_accuracy(confusion(truth, np.full_like(truth, 3), 2, ignored=2))


def test_a_colour_that_is_near_a_class_but_nearer_an_ignored_one_is_ignored():
    """*Ground* is nearest to the bicycle, *parking* to the fence, of the classes of Cityscapes alone."""
    palette = Palette(((119, 11, 32), (190, 153, 153)), ((0, 0, 0), (81, 0, 81), (250, 170, 160)))
    maps = torch.tensor([(81, 0, 81), (250, 170, 160), (119, 11, 32), (2, 3, 1), (188, 150, 155)], dtype=torch.uint8)
    found, _ = palette.read(maps.T.reshape(1, 3, 1, 5))
    assert found.ravel().tolist() == [3, 4, 0, 2, 1]
    assert Palette(palette.colours).read(maps.T.reshape(1, 3, 1, 5))[0].ravel().tolist()[:2] == [0, 1]


@pytest.mark.parametrize("given", ["palette", "found", "judge"])
def test_label_maps_are_scored_without_the_ignored_colour(tmp_path, given):
    """Translations that are right but where the truth is white, which is ignored."""
    maps = [label_map(seed) for seed in range(4)]
    white = [(classes(seed) == 3)[..., None] for seed in range(4)]
    fakes = [np.where(at, COLOURS[1], each) for at, each in zip(white, maps, strict=True)]
    samples = two(tmp_path, fakes, maps)
    tools = {
        "palette": Tools(palette=Palette(PALETTE[:3]), ignore=PALETTE[3:]),
        "found": Tools(ignore=PALETTE[3:]),
        "judge": Tools(evaluator=judge(Segmenter, palette=PALETTE[:3], ignore=PALETTE[3:], **TINY)),
    }[given]
    found, result = values("label-maps", samples, tools)
    assert {found[name] for name in LABEL_MAPS} == {1.0}
    share = 100 * np.mean(white)
    assert (
        f"{share:.2g} % of the pixels have an ignored colour in the true label map, and are not scored" in result.said
    )
    assert any("ignored colours: #ffffff" in line for line in result.said)
    assert result.tools["ignored colours"] == "#ffffff"
    assert found["l1"] > 0, "of whole images"
    counted, other = values("label-maps", samples)
    assert counted["pixel-accuracy"] == pytest.approx(1 - np.mean(white))
    with pytest.raises(EvaluationError, match="ignored colours: "):
        check_comparable([result, other])
    wrong = [np.full_like(each, 255) for each in maps]
    found, _ = values("label-maps", two(tmp_path / "wrong", wrong, maps), tools)
    assert {found[name] for name in LABEL_MAPS} == {0.0}, "an ignored colour is no right answer"


def test_the_fcn_score_drops_pixels_that_are_ignored(tmp_path):
    maps, photos = ([make(seed) for seed in range(4)] for make in (label_map, photograph))
    samples = sample_folder(tmp_path / "s", {"a-b": {"source": maps, "fake": photos, "truth": photos}})
    looks = judge(Segmenter, palette=PALETTE[:3], ignore=PALETTE[3:], **TINY)
    looks.method.logits = lambda x: torch.nn.functional.one_hot(torch.zeros(len(x), 32, 32, dtype=int), 3).movedim(
        -1, 1
    )
    found, result = values("pix2pix-fcn", samples, Tools(evaluator=looks))
    truth = np.concatenate([classes(seed).ravel() for seed in range(4)])
    assert found["pixel-accuracy"] == pytest.approx(np.mean(truth[truth < 3] == 0))
    assert found["class-accuracy-all-classes"] == pytest.approx(1 / 3)
    assert result.tools["ignored colours"] == "#ffffff"
    with pytest.raises(EvaluationError, match="#ff0000 is in the palette and ignored: leave it out of one of them"):
        values("pix2pix-fcn", samples, Tools(evaluator=looks, ignore=PALETTE[1:2]))


def test_class_numbers_are_ignored_in_maps_of_one_channel(tmp_path):
    maps = [np.where(classes(seed) == 3, 255, classes(seed))[..., None].astype(np.uint8) for seed in range(4)]
    fakes = [np.where(each == 255, 0, each) for each in maps]
    found, result = values("label-maps", two(tmp_path, fakes, maps), Tools(ignore=parse_ignored("[255]")))
    assert found["pixel-accuracy"] == 1
    assert result.tools["ignored colours"] == "#ff"


def test_an_ignored_colour_is_not_found_as_a_class():
    maps = [label_map(seed) for seed in range(4)]
    found = find_palette(maps, ((255, 255, 255), (1, 2, 3)))
    assert (set(found.colours), found.ignore) == (set(PALETTE[:3]), ((255, 255, 255), (1, 2, 3)))
    noisy = [np.clip(m + np.random.RandomState(0).randint(-5, 6, m.shape), 0, 255).astype(np.uint8) for m in maps]
    assert len(find_palette(noisy, ((255, 255, 255),)).colours) == 3
    with pytest.raises(EvaluationError, match="only 1 colours of the label maps are not ignored"):
        find_palette(maps, PALETTE[1:])
    with pytest.raises(EvaluationError, match="ignored colours of 1 levels: label maps of 3 channels"):
        find_palette(maps, ((255,),))


def test_ignored_colours_are_given_as_a_text():
    assert parse_ignored(None) == ()
    assert parse_ignored("[[0,0,0],[1,2,3]]") == ((0, 0, 0), (1, 2, 3))
    assert parse_ignored("[0, 255]") == ((0,), (255,))
    for text in ("[[0,0,256]]", "[[0],[0,0]]", "black", "[true]", "[[0"):
        with pytest.raises(EvaluationError, match="expected colours to ignore, as"):
            parse_ignored(text)


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(EvaluationError, match="in the palette and ignored"):
        Palette(PALETTE, PALETTE[:1])
    with pytest.raises(ValueError, match="ignore: #000000 is in the palette"):
        EvaluationSettings(palette=PALETTE, ignore=PALETTE[:1])
    with pytest.raises(
        ValueError, match="ignore: all colours of a palette, and the ignored ones, need the same number"
    ):
        Segmenter.Config(palette=PALETTE, ignore=((0,),))
    assert "ignore" not in EvaluationSettings().key(), "results of earlier versions are not made again"
    assert EvaluationSettings(ignore=((0, 0, 0),)).key()["ignore"] == [[0, 0, 0]]
    assert len(read_experiment("pix2pix-photo-labels").evaluate.ignore) == 10


# ------------------------------------------------------------------------------------------------ training a segmenter


def batch(ignored_as):
    """Two images of which half are ignored, with any target there."""
    torch.manual_seed(0)
    target = torch.tensor([-1.0, 1.0]).repeat(2, 1, 8, 4)
    target[..., 4:] = ignored_as
    return {"source": torch.rand(2, 1, 8, 8) * 2 - 1, "target": target}


def loss(method, batch):
    return next(method.updates(batch, None))[1]["class"]


def test_a_segmenter_does_not_train_on_ignored_pixels():
    config = {"palette": ((0,), (255,)), "in_channels": 1, "out_channels": 1, "norm": "instance", **TINY}
    torch.manual_seed(1)
    method = Segmenter(Segmenter.Config(ignore=(128,), **config))
    near, far = (batch(level) for level in (0.0, 0.05))
    logits = method.S(near["source"])
    expected = torch.nn.functional.cross_entropy(
        logits[..., :4], method.class_map(near["target"])[..., :4], reduction="sum"
    )
    assert loss(method, near).item() == pytest.approx(expected.item() / near["target"].numel(), rel=1e-5)
    assert loss(method, near) == loss(method, far)
    assert (method.class_map(near["target"])[..., 4:] == -1).all()
    nothing = {**near, "target": torch.zeros_like(near["target"])}
    assert loss(method, nothing) == 0, "no NaN where all is ignored"
    parts = [loss(method, {key: each[at : at + 1] for key, each in near.items()}).item() for at in (0, 1)]
    assert loss(method, near).item() == pytest.approx(np.mean(parts), rel=1e-5)


def test_a_segmenter_without_ignored_colours_has_the_loss_that_it_had():
    method = Segmenter(Segmenter.Config(palette=((0,), (255,)), in_channels=1, out_channels=1, **TINY))
    given = batch(1.0)
    torch.manual_seed(2)
    expected = torch.nn.functional.cross_entropy(method.S(given["source"]), method.class_map(given["target"]))
    assert torch.equal(loss(method, given), expected)


def test_judge_train_says_how_many_pixels_are_ignored(tmp_path):
    for split, start in (("train", 0), ("val", 50)):
        fill(tmp_path / "d" / f"{split}A", 4, start, make=photograph)
        fill(tmp_path / "d" / f"{split}B", 4, start, make=label_map)
    words = [
        "steps=1",
        "base_channels=4",
        "n_downsample=2",
        "crop_size=32",
        "load_size=32",
        "batch_size=2",
        "workers=0",
        "device=cpu",
    ]
    white = "ignore=[[255,255,255]]"
    made = evaluator_recipe("segmenter", [f"root={tmp_path / 'd'}", white, *words])
    assert set(made.model.palette) == set(PALETTE[:3])
    assert made.model.ignore == PALETTE[3:]
    done = diptych("evaluator", "train", "segmenter", "--data", tmp_path / "d", "-o", tmp_path / "run", white, *words)
    assert done.exit_code == 0, done.output
    share = [100 * np.mean([classes(seed) == 3 for seed in range(start, start + 4)]) for start in (0, 50)]
    assert f"{share[0]:.2g} % of the pixels of the label maps are ignored: #ffffff" in done.output
    assert (
        f"{share[1]:.2g} % of the pixels have an ignored colour in the true label map, and are not scored"
        in done.output
    )
    with pytest.raises(ConfigError, match=r"ignore: .*expected colours to ignore"):
        evaluator_recipe("segmenter", [f"root={tmp_path / 'd'}", "ignore=[[999]]", *words])


def test_evaluate_takes_colours_to_ignore(tmp_path):
    maps = [label_map(seed) for seed in range(4)]
    for name in ("real", "fake"):
        for at, each in enumerate(maps):
            image_io.write(tmp_path / name / f"{at}.png", each)
    words = ["--real", tmp_path / "real", "--fake", tmp_path / "fake", "-p", "label-maps", "--ignore", "[[0,0,0]]"]
    done = diptych("evaluate", *words)
    assert done.exit_code == 0, done.output
    assert "ignored colours: #000000" in done.output


def test_data_check_says_how_many_pixels_are_ignored(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    for seed in range(4):
        both = np.concatenate([photograph(seed), label_map(seed)], 1)
        image_io.write(tmp_path / "d" / ("train" if seed < 3 else "val") / f"{seed}.png", both)
    done = diptych("data", "check", tmp_path / "d", "--ignore", "[[255,255,255]]")
    share = [100 * np.mean([classes(seed) == 3 for seed in some]) for some in ((0, 1, 2), (3,))]
    assert "pixels of the colours to ignore (#ffffff)" in done.output
    assert f"train right: {share[0]:.2g} %" in done.output
    assert f"val right: {share[1]:.2g} %" in done.output
    assert (
        "train right: no images of 1 channels" in diptych("data", "check", tmp_path / "d", "--ignore", "[255]").output
    )
    assert "to ignore" not in diptych("data", "check", tmp_path / "d").output
