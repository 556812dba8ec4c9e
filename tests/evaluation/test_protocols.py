"""The protocols, each from end to end on small folders whose scores are known beforehand."""

import numpy as np
import pytest
from judged import COLOURS, judge, noise, sample_folder, stand_in, two, values

from diptych.data.images import image_io
from diptych.errors import EvaluationError, ImageError
from diptych.evaluation.metrics.intervals import difference
from diptych.evaluation.protocols import PROTOCOLS, find_protocol
from diptych.evaluation.results import check_comparable
from diptych.evaluation.tools import Tools
from diptych.evaluation.two_folders import two_folders
from diptych.evaluators.segmenter import Segmenter

PALETTE = tuple(tuple(map(int, colour)) for colour in COLOURS)


@pytest.mark.parametrize("side", [32, 180])
def test_what_is_the_same_is_perfect(tmp_path, side):
    pictures = [noise(seed, (side, side, 3)) for seed in range(4)]
    found, result = values("paired-default", two(tmp_path, pictures, pictures))
    colour = {f"colour/{name}": pytest.approx(1) for name in "Lab"}
    large = {"ms-ssim": pytest.approx(1)} if side >= 176 else {}
    assert found == {"l1": 0, "psnr": 100, "ssim": pytest.approx(1), **large, **colour}
    assert all(score.count == 4 for score in result.scores)
    assert [score.name for score in result.scores if score.better == "lower"] == ["l1"]
    assert f"4 translations of {side}x{side} pixels compared with their ground truth, in 8 bits" in result.said


def test_what_differs_is_measured_by_row(tmp_path):
    """Each fake a known distance from its own truth, and from no other."""
    truths = [np.full((12, 12, 3), 20 * at, np.uint8) for at in range(5)]
    fakes = [truth + 3 * at for at, truth in enumerate(truths)]
    found, result = values("paired-default", two(tmp_path, fakes, truths))
    assert result.score("l1").each == pytest.approx([3 * at / 127.5 for at in range(5)])
    assert found["l1"] == pytest.approx(6 / 127.5)
    assert result.score("psnr").each[0] == 100
    assert result.score("psnr").each[1:] == pytest.approx([20 * np.log10(255 / (3 * at)) for at in range(1, 5)])


def test_small_grey_and_many_channels_are_measured_as_far_as_they_can_be(tmp_path):
    small = [noise(seed, (8, 8, 3)) for seed in range(4)]
    assert set(values("paired-default", two(tmp_path / "small", small, small))[0]) == {
        "l1", "psnr", "colour/L", "colour/a", "colour/b",
    }  # fmt: skip
    grey = [noise(seed, (16, 16, 1)) for seed in range(4)]
    assert set(values("paired-default", two(tmp_path / "grey", grey, grey))[0]) == {"l1", "psnr", "ssim"}
    many = [noise(seed, (32, 32, 5)) for seed in range(8)]
    tools = Tools(extractor=stand_in(), lpips=Unfit())
    found, result = values("paired-default", two(tmp_path / "many", many, many, ".npy"), tools)
    assert set(found) == {"l1", "psnr", "ssim"}
    assert any(line.startswith("no LPIPS: too small") for line in result.said)
    assert result.tools == {}, "neither could be used"
    assert any("no FID and KID: feature networks take grey or RGB images; these have 5" in x for x in result.said)


class Unfit:
    """LPIPS for pictures that it cannot take."""

    digest = "b" * 64

    def pair(self, a, b):
        raise EvaluationError("too small")


def test_lpips_is_of_pairs_in_the_range_of_networks(tmp_path):
    class Apart(Unfit):
        def pair(self, a, b):
            assert (a.min(), a.max()) == (-1, 1)
            return (a - b).abs().amax((1, 2, 3))

    black, white = np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)
    black[0, 0], white[0, 0] = 255, 0
    _, result = values("paired-default", two(tmp_path, [black] * 3 + [white], [black] * 4), Tools(lpips=Apart()))
    assert result.score("lpips").each == (0, 0, 0, 2)
    assert result.tools == {"lpips": "b" * 16}


def test_thin_structures(tmp_path):
    truth = np.zeros((16, 16, 1), np.uint8)
    truth[8] = 255
    found, result = values("thin-structures", two(tmp_path / "a", [truth] * 4, [truth] * 4))
    assert found == {"dice": 1, "roc-area": 1, "l1": 0, "psnr": 100, "ssim": pytest.approx(1)}
    assert result.score("dice").chance == pytest.approx(2 / 17)
    half = truth.copy()
    half[8, :8] = 0
    found, _ = values("thin-structures", two(tmp_path / "b", [half] * 4, [truth] * 4))
    assert found["dice"] == pytest.approx(2 * 8 / (8 + 16))
    assert found["roc-area"] == pytest.approx(0.75)
    with pytest.raises(EvaluationError, match="both true and false pixels in the ground truth"):
        values("thin-structures", two(tmp_path / "c", [truth] * 4, [np.zeros_like(truth)] * 4))


def test_thin_structures_that_most_pictures_do_not_have(tmp_path):
    """One crack in 16 pictures: two in three draws hold it, and the others have no ROC curve."""
    crack, none = np.zeros((2, 16, 16, 1), np.uint8)
    crack[8] = 255
    found, result = values("thin-structures", two(tmp_path, [crack] * 8 + [none] * 8, [crack] + [none] * 15))
    score = result.score("roc-area")
    assert 600 < len(score.draws) < 700
    assert score.low < score.value < score.high
    assert (found["dice"], result.score("dice").chance) == (9 / 16, 15 / 16), "chance: nothing anywhere"
    assert difference(score, score).value == 0


def test_the_chance_of_dice_is_the_mean_over_pictures_as_its_value_is(tmp_path):
    thin, thick = np.zeros((2, 16, 16, 1), np.uint8)
    thin[0], thick[:12] = 255, 255
    _, result = values("thin-structures", two(tmp_path, [thin, thick] * 2, [thin, thick] * 2))
    assert result.score("dice").chance == pytest.approx((2 / 17 + 24 / 28) / 2)


def test_srgan_y_leaves_out_the_border_and_takes_pictures_of_all_sizes(tmp_path):
    truths = [noise(seed, (24 + 4 * seed, 30, 3)) for seed in range(4)]
    fakes = [truth.copy() for truth in truths]
    for fake in fakes:
        fake[:4] = fake[-4:] = 0
        fake[:, :4] = fake[:, -4:] = 0
    samples = two(tmp_path, fakes, truths)
    found, result = values("srgan-y", samples)
    assert found == {"psnr-y": 100, "ssim-y": pytest.approx(1)}
    assert "4 images on Y, without 4 pixels at each edge" in result.said
    value, other = values("srgan-y", samples, Tools(border=3))
    assert value["psnr-y"] < 30
    with pytest.raises(EvaluationError, match="border: 4 pixels and 3 pixels"):
        check_comparable([result, other])
    grey = [np.repeat(noise(1, (24, 24, 1)), 3, 2)] * 4
    other = [(each * (219 / 255)).round().astype(np.uint8) for each in grey]
    assert values("srgan-y", two(tmp_path / "y", grey, other))[0]["psnr-y"] < 40, "Y of grey is 16 to 235, not grey"
    image_io.write(tmp_path / "fake" / "002.png", noise(2, (32, 31, 3)))
    with pytest.raises(EvaluationError, match="31x32 RGB: resize or convert one"):
        values("srgan-y", two_folders(tmp_path / "real", tmp_path / "fake"))


def test_sizes_and_pairs_that_do_not_fit_are_refused(tmp_path):
    pictures = [noise(seed) for seed in range(4)]
    with pytest.raises(EvaluationError, match=r"fake .*30x32 RGB|real .*30x32 RGB"):
        values("paired-default", two(tmp_path / "a", pictures, [noise(seed, (32, 30, 3)) for seed in range(4)]))
    for name in ("paired-default", "label-maps", "thin-structures", "srgan-y"):
        with pytest.raises(EvaluationError, match="some translations have no truth image"):
            values(name, two(tmp_path / "b", pictures, pictures[:3]))
    with pytest.raises(EvaluationError, match="some translations have no source image"):
        values(
            "pix2pix-fcn", two(tmp_path / "c", pictures, pictures), Tools(evaluator=judge(Segmenter, palette=PALETTE))
        )


def test_scores_of_several_routes_have_the_route_before_their_name(tmp_path):
    black, white = [np.zeros((12, 12, 3), np.uint8)] * 4, [np.full((12, 12, 3), 255, np.uint8)] * 4
    routes = {"a-b": {"fake": black, "truth": black}, "b-a": {"fake": black, "truth": white}}
    found, _ = values("paired-default", sample_folder(tmp_path, routes))
    assert (found["a-b/l1"], found["b-a/l1"]) == (0, 2)
    assert [name.partition("/")[0] for name in found] == ["a-b"] * 6 + ["b-a"] * 6
    reals = {"a-b": {"fake": black, "real": white}, "b-a": {"fake": white, "real": white}}
    found, _ = values("unpaired-default", sample_folder(tmp_path / "reals", reals))
    assert (found["a-b/colour/L"], found["b-a/colour/L"]) == (0, 1)


def test_the_interval_of_colours_holds_its_value(tmp_path):
    fakes, reals = ([noise(seed, (8, 8, 3)) for seed in seeds] for seeds in (range(40), range(100, 130)))
    _, result = values("unpaired-default", two(tmp_path, fakes, reals))
    colours = [score for score in result.scores if score.name.startswith("colour/")]
    assert [(score.by, len(score.draws)) for score in colours] == [("jackknife", 20)] * 3
    assert all(score.low < score.value < score.high for score in colours)


def test_where_nothing_can_be_measured_that_is_said(tmp_path):
    grey = [noise(seed, (16, 16, 1)) for seed in range(4)]
    with pytest.raises(EvaluationError, match=r"name: unpaired-default/1 has no metric for these images"):
        values("unpaired-default", two(tmp_path, grey, grey[:3]))
    with pytest.raises(EvaluationError, match="has no metric for these images"):
        values("paired-default", sample_folder(tmp_path / "none", {}))


def test_pictures_with_values_that_are_none_are_refused_by_name(tmp_path):
    pictures = [np.random.default_rng(seed).random((20, 20, 1), np.float32) for seed in range(4)]
    samples = two(tmp_path, pictures, pictures, ".npy")
    assert values("paired-default", samples)[0]["l1"] == 0
    np.save(tmp_path / "fake" / "002.npy", np.full((20, 20, 1), np.nan, np.float32))
    for name in ("paired-default", "srgan-y", "thin-structures"):
        with pytest.raises(ImageError, match=r"002\.npy"):
            values(name, samples)


def test_each_protocol_is_found_by_its_name():
    for name in PROTOCOLS:
        found = find_protocol(name)
        assert str(found) == f"{name}/{found.version}"
        assert found.description.startswith(f"{name}: ")
    with pytest.raises(EvaluationError, match="unknown protocol 'pix2pix-fnc'; did you mean 'pix2pix-fcn'"):
        find_protocol("pix2pix-fnc")
