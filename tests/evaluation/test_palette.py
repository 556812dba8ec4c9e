"""`metrics.palette`: the colours of label maps are found as they are, and pictures are not taken for such."""

import re

import numpy as np
import pytest
import torch
from judged import COLOURS, judge, noise
from material import folder_of

from diptych.contract import Labels
from diptych.data.image_columns import ImageFiles
from diptych.data.images import image_io
from diptych.data.sources import glyphs
from diptych.errors import EvaluationError
from diptych.evaluation.metrics.image_sets import image_set
from diptych.evaluation.metrics.palette import Palette, find_palette, palette_of, parse_palette
from diptych.evaluators.classifier import Classifier
from diptych.evaluators.segmenter import Segmenter
from diptych.workflows.experiment import read_experiment

MANY = np.array([[0, 0, 0], [128, 64, 128], [0, 255, 0], [255, 255, 255], [70, 130, 180], [255, 0, 0]], np.uint8)


def maps(colours, count=6, side=96, cell=24, seed=0):
    """Maps of classes in cells, the first class twice as often as the second, and so on."""
    random = np.random.default_rng(seed)
    share = 0.5 ** np.arange(len(colours))
    places = random.choice(len(colours), (count, side // cell, side // cell), p=share / share.sum())
    places[:, 0, 0] = np.arange(count) % len(colours)
    return [colours[np.kron(each, np.ones((cell, cell), int))] for each in places]


def as_set(colours):
    return {tuple(map(int, colour)) for colour in colours}


def planes(array):
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))[None]


@pytest.mark.parametrize("count", [2, 3, 6])
def test_plain_colours_are_found_most_frequent_first(count):
    found = find_palette(maps(MANY[:count]))
    assert as_set(found.colours) == as_set(MANY[:count])
    pixels = np.concatenate([each.reshape(-1, 3) for each in maps(MANY[:count])])
    often = [(pixels == colour).all(1).sum() for colour in found.colours]
    assert often == sorted(often, reverse=True)


@pytest.mark.parametrize("spread", [1, 2, 3, 4])
def test_noise_is_taken_off_again(spread):
    """Also where a colour lies at the edge of what is counted together, as 128 does."""
    random = np.random.default_rng(1)
    noisy = [
        np.clip(each + random.normal(0, spread, each.shape), 0, 255).round().astype(np.uint8) for each in maps(MANY)
    ]
    found = np.array(sorted(find_palette(noisy).colours))
    assert found.shape == MANY.shape
    assert np.abs(found - np.array(sorted(map(tuple, MANY.tolist())))).max() <= (spread > 2)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_what_jpeg_adds_is_no_class(tmp_path, suffix):
    files = [tmp_path / f"{at}{suffix}" for at in range(6)]
    for file, pixels in zip(files, maps(MANY, side=240, cell=60), strict=True):
        image_io.write(file, pixels)
    found = np.array(sorted(find_palette([image_io.read(file) for file in files]).colours))
    assert found.shape == MANY.shape
    assert np.abs(found - np.array(sorted(map(tuple, MANY.tolist())))).max() <= 1


def test_soft_edges_belong_to_the_colours_beside_them():
    soft = [image_io.resize(each, 144, 144) for each in maps(MANY)]
    assert as_set(find_palette(soft).colours) == as_set(MANY)


def test_maps_of_two_sizes_and_one_channel():
    levels = np.array([[0], [90], [255]], np.uint8)
    found = find_palette([*maps(levels, side=96), *maps(levels, side=48)])
    assert as_set(found.colours) == {(0,), (90,), (255,)}


def test_where_there_is_no_noise_colours_may_lie_close():
    """As the 19 of Cityscapes do, two of them 20 levels apart; and numbers of classes, saved as they are."""
    close = np.array([[0, 60, 100], [0, 80, 100], [153, 153, 153], [190, 153, 153]], np.uint8)
    assert as_set(find_palette(maps(close)).colours) == as_set(close)
    assert as_set(find_palette(maps(np.arange(5, dtype=np.uint8)[:, None])).colours) == {(n,) for n in range(5)}


def test_many_maps_are_looked_at_here_and_there():
    """The last class is in the last maps alone."""
    column = [*maps(MANY[:2], 230), *maps(MANY[2:4], 20)]
    assert as_set(palette_of(column).colours) == as_set(MANY[:4])


def test_specks_are_no_class():
    spoiled = maps(MANY[:3])
    spoiled[0][:2, :2] = (255, 0, 255)
    assert as_set(find_palette(spoiled).colours) == as_set(MANY[:3])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([np.full((32, 32, 3), 7, np.uint8)] * 3, "only one colour"),
        ([noise(seed, (64, 64, 3)) for seed in range(4)], "between the colours.*not label maps"),
        ([noise(seed, (64, 64, 1)) for seed in range(4)], "between the colours.*change direction"),
        ([image_io.resize(noise(seed, (6, 6, 3)), 96, 96) for seed in range(8)], "not label maps"),
        (
            [np.stack(np.meshgrid(*[np.arange(5) * 60] * 3), -1).astype(np.uint8).reshape(5, 25, 3).repeat(7, 1)],
            "more than 64 colours",
        ),
    ],
)
def test_what_is_no_label_map_is_refused(made, message):
    with pytest.raises(EvaluationError, match=message):
        find_palette(made)


@pytest.mark.parametrize("name", ["facades", "cityscapes"])
def test_real_label_maps_are_taken_and_their_photographs_are_not(name):
    files = sorted((folder_of("DIPTYCH_DATA", "shared/data") / name / "train").iterdir())[:40]
    both = [image_io.read(file) for file in files]
    sides = [[each[:, :256] for each in both], [each[:, 256:] for each in both]]
    assert 9 <= len(find_palette(sides[1]).colours) <= 12, "classes that are rare in these"
    if name == "cityscapes":
        assert {(70, 70, 70), (0, 0, 142), (70, 130, 180)} < set(find_palette(sides[1]).colours)
    for photographs in (sides[0], [image_io.with_channels(each, 1, "x") for each in sides[0]]):
        with pytest.raises(EvaluationError, match="these are not label maps"):
            find_palette(photographs)


# ---------------------------------------------------------------------------------------------------------- read by it


def test_each_pixel_is_of_the_nearest_colour():
    palette = Palette(((0, 0, 0), (255, 0, 0), (0, 0, 255)))
    pixels = np.array([[[10, 0, 0], [200, 0, 30], [0, 90, 250]]], np.uint8)
    classes, away = palette.read(planes(pixels))
    assert classes.tolist() == [[[0, 1, 2]]]
    assert classes.dtype == np.uint8
    np.testing.assert_allclose(away, [[[10, np.hypot(55, 30), np.hypot(90, 5)]]], rtol=1e-6)


def test_what_was_painted_is_read():
    truth = np.random.default_rng(0).integers(0, len(MANY), (3, 8, 8))
    palette = Palette(tuple(tuple(map(int, colour)) for colour in MANY))
    shown = torch.cat([planes(MANY[each]) for each in truth])
    classes, away = palette.read(shown)
    assert np.array_equal(classes, truth)
    assert not away.any()


def test_what_lies_between_the_colours_is_told(tmp_path):
    """A class that the palette lacks is among it."""
    files = [tmp_path / f"{at}.png" for at in range(6)]
    for file, pixels in zip(files, maps(MANY[[0, 3, 5, 1]]), strict=True):
        image_io.write(file, pixels)
    whole, less = Palette(((0, 0, 0), (255, 255, 255), (255, 0, 0), (128, 64, 128))), Palette(((0, 0, 0), (255, 0, 0)))
    assert whole.describe(image_set(files)) == "the colours of 4 classes: #000000 #ffffff #ff0000 #804080"
    text = less.describe(image_set(files))
    assert text.startswith("the colours of 2 classes: #000000 #ff0000; ")
    found = [
        np.concatenate([(image_io.read(file) == colour).all(2).ravel() for file in files]) for colour in MANY[[3, 1]]
    ]
    shares = [100 * each.mean() for each in (found[0] | found[1], *found)]
    assert [float(each) for each in re.findall(r"([\d.]+) %", text)] == pytest.approx(shares, abs=1)
    assert re.findall(r"#\w+ \(", text) == ["#fcfcfc (", "#844484 ("]


def test_other_channels_and_other_colours_are_refused(tmp_path):
    palette = Palette(((0, 0, 0), (255, 0, 0)))
    with pytest.raises(EvaluationError, match="label maps have 1 channels, and the colours of the palette 3"):
        palette.read(torch.zeros(1, 1, 4, 4, dtype=torch.uint8))
    image_io.write(tmp_path / "x.png", np.full((8, 8, 3), (0, 255, 0), np.uint8))
    found = image_set([tmp_path / "x.png"])
    with pytest.raises(
        EvaluationError, match=f"{tmp_path}: its pixels are on average 255 levels from the nearest of the 2"
    ):
        palette.read_all(found)
    assert palette.read_all(found, strict=False).shape == (1, 8, 8)


def test_a_judge_says_what_it_paints_with():
    colours = tuple(tuple(map(int, colour)) for colour in COLOURS)
    assert Palette.of(judge(Segmenter, palette=colours, base_channels=4, n_downsample=2).method).colours == colours
    levels = judge(Segmenter, palette=((3,), (200,)), out_channels=1, base_channels=4, n_downsample=2)
    assert Palette.of(levels.method).colours == ((3,), (200,))
    for names in (("cat", "dog"), ("#ff0000", "red"), ("#1", "#2"), ("#", "#ff")):
        with pytest.raises(EvaluationError, match="this evaluator is a classifier"):
            Palette.of(judge(Classifier, labels=(Labels(names=names),), base_channels=4, n_downsample=2).method)


def test_a_palette_may_be_given_as_a_text():
    assert parse_palette(None) is None
    assert parse_palette("[[0, 0, 0], [255, 9, 1]]") == Palette(((0, 0, 0), (255, 9, 1)))
    for text in ("[[0,0,0]]", "[[0,0,0],[1,2]]", "[[0,0,0],[0,0,256]]", "red blue", "[[0,0", "{a: 1}"):
        with pytest.raises(EvaluationError, match=r"not a palette; give colours of 0 to 255, as \[\["):
            parse_palette(text)


def test_the_palette_of_the_shipped_experiment_is_that_of_cityscapes():
    files = sorted((folder_of("DIPTYCH_DATA", "shared/data") / "cityscapes" / "train").iterdir())
    settings = read_experiment("pix2pix-photo-labels").evaluate
    palette = Palette(settings.palette, settings.ignore)
    shares, near, away = np.zeros(29), np.zeros(29), []
    some = files[::4]
    for file in some:
        classes, apart = palette.read(planes(image_io.read(file)[:, 256:]))
        shares += np.bincount(classes.ravel(), minlength=29) / classes.size / len(some)
        near += np.bincount(classes[apart < 6], minlength=29)
        away.append(apart.mean())
    assert np.mean(away) < 12
    assert (near[:19] > 0).all()
    assert shares[19:].sum() == pytest.approx(0.136, abs=0.02), "of which black alone is 8 %"
    assert shares[19] == pytest.approx(0.08, abs=0.02)
    found = palette_of(ImageFiles(tuple(files), half=1))
    near = np.linalg.norm(np.array(found.colours)[:, None] - np.array(palette.colours), axis=2) < 6
    assert near.any(0).sum() == 9, "what is found lacks rare classes"


def test_letters_are_label_maps_of_black_and_white():
    found = find_palette(list(glyphs.render_letters("sans-bold", 64)[:200]))
    assert {(0,), (255,)} <= set(found.colours)
