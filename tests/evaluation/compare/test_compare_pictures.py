"""`diptych compare`: pictures and curves."""

import json
import re

import numpy as np
import pytest
from compared import Page, run
from PIL import Image

from diptych.evaluation.compare.colour_histograms import colour_plots, histogram
from diptych.evaluation.compare.curves import plots
from diptych.evaluation.compare.grids import encoded, spread, strip, tile
from diptych.evaluation.compare.page import compare
from diptych.evaluation.compare.read import format_seconds, read_runs, short
from diptych.evaluation.compare.result_tables import decimals_of, format_number
from diptych.runs.plots import MAX_POINTS, draw_plot, read_curves

pytestmark = pytest.mark.usefixtures("drawn_plots")


def test_the_best_and_worst_images_are_those_with_such_values(tmp_path):
    values = {"l1": [0.5, 0.1, 0.9, 0.3, 0.2], "psnr": [5.0, 1.0, 9.0, 3.0, 2.0]}
    page = Page(compare([run(tmp_path / "a", values, count=5)], tmp_path / "out"))
    captions = re.findall("<figcaption>([^<]*), image &lt;(\\d)&gt;</figcaption>", page.raw)
    assert captions[:5] == [("0.1", "1"), ("0.2", "4"), ("0.3", "3"), ("0.9", "2"), ("0.5", "0")]
    assert captions[5:] == [("9", "2"), ("5", "0"), ("3", "3"), ("1", "1"), ("2", "4")]


@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3), (24, 12, 3), (1, 40)])
def test_grey_and_colour_of_any_shape_are_shown(tmp_path, shape):
    page = Page(compare([run(tmp_path / "a", shape=shape)], tmp_path / "out"))
    assert sum(each["alt"].startswith(("source of", "a of", "ground truth of")) for each in page.images()) == 3 * 6


def test_pictures_of_other_channel_counts_show_the_first(tmp_path):
    np.save(tmp_path / "x.npy", np.dstack([np.full((4, 4), 7, np.uint8), np.zeros((4, 4, 4), np.uint8)]))
    assert np.asarray(tile(tmp_path / "x.npy", 9)).tolist() == [[7] * 4] * 4
    assert tile(tmp_path / "none.png", 9) is None


def test_logs_become_curves_of_few_finite_points(tmp_path):
    events = [
        {"event": "step", "step": step, "terms": {"G/l1": float(step), "bad": math}}
        for step, math in zip(range(1000), [float("nan"), "x", None, True] * 250, strict=True)
    ]
    (tmp_path / "log").write_text("".join(json.dumps(each) + "\n" for each in events))
    lines = read_curves(tmp_path / "log", "terms")
    steps, values = lines["G/l1"]
    assert len(steps) == MAX_POINTS
    assert np.allclose(steps, values)
    assert steps[0] < 10 < 990 < steps[-1]
    assert set(lines) == {"G/l1"}
    assert read_curves(tmp_path / "log", "error") == {}
    assert read_curves(tmp_path / "none", "terms") == {}


def test_scores_of_held_out_images_are_drawn_beside_errors_and_terms(tmp_path):
    events = [{"event": "evaluation", "step": step, "scores": {"kid": 1 / (step + 1), "psnr": step}} for step in (0, 5)]
    events.append({"event": "step", "step": 5, "terms": {"G/l1": 1.0}})
    for name in "ab":
        run(tmp_path / name)
        (tmp_path / name / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
    found = [picture.alt for picture, _ in plots(read_runs([tmp_path / "a", tmp_path / "b"]))]
    assert found == [
        "Held-out score kid by step: a ends at 0.167, b ends at 0.167.",
        "Held-out score psnr by step: a ends at 5, b ends at 5.",
        "Loss term G/l1 by step: a ends at 1, b ends at 1.",
    ]


def test_plots_take_names_as_they_are_and_show_every_run():
    one = (np.arange(3.0), np.arange(3.0) + 1)
    plain = draw_plot("G", {0: one}, ["a"])
    for name in ("$\\frac{$", "_hidden", "日本"):
        assert np.abs(
            np.asarray(draw_plot("G", {0: one}, [name]).convert("L"), int) - np.asarray(plain.convert("L"))
        ).any()
    draw_plot("$\\frac{$", {0: one}, ["a"])


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
@pytest.mark.parametrize("limit", [2_000, 9_000, 10**7])
def test_no_picture_is_larger_than_its_share(mode, limit):
    noise = np.random.RandomState(0).randint(0, 256, (150, 200, 3)).astype(np.uint8)
    picture = Image.fromarray(noise).quantize(64) if mode == "P" else Image.fromarray(noise).convert(mode)
    assert len(encoded(picture, limit)) <= limit
    assert encoded(picture, limit).startswith("data:image/png" if limit > 10**6 else "data:image/jpeg")


def test_strips_and_numbers():
    whole = strip([Image.new("L", (4, 4), 0), Image.new("RGB", (8, 8), "red")])
    assert (whole.mode, whole.size) == ("RGB", (8 + 3 + 8, 8))
    assert whole.getpixel((0, 0)) == (0, 0, 0)
    assert whole.getpixel((18, 7)) == (255, 0, 0)
    assert spread(100, 8)[0] == 0
    assert (spread(100, 8)[-1], len(spread(100, 8)), spread(3, 8), spread(0, 8)) == (99, 8, [0, 1, 2], [])
    assert [format_seconds(each) for each in (0.00042, 1.5, 90, 7200)] == ["0.42 ms", "1.5 s", "1.5 min", "2 h"]
    assert len(short("x" * 9999)) <= 48
    assert decimals_of([]) is None
    assert (format_number(1.23456, 2), format_number(1e-9, 10), format_number(0.5, 1, "+")) == ("1.23", "1e-09", "+0.5")


def test_what_is_not_drawn_is_said(tmp_path):
    folder = run(tmp_path / "a")
    terms = {f"G/{name}": 1.0 for name in "abcdefghij"}
    (folder / "events.jsonl").write_text(json.dumps({"event": "step", "step": 1, "terms": terms}) + "\n")
    page = Page(compare([folder], tmp_path / "out"))
    assert "Not plotted: G/i, G/j." in page.raw
    assert page.raw.count("Not plotted") == 1


def test_colours_of_runs_are_plotted_beside_those_of_the_real_images(tmp_path):
    folders = [tmp_path / "grey", tmp_path / "without-score"]
    scores = {f"colour/{letter}": np.full(6, 0.5) for letter in "Lab"}
    run(folders[0], {"l1": np.ones(6), **scores})
    run(folders[1], {"l1": np.ones(6)})
    for file in (folders[0] / "samples").rglob("fake/*/*.png"):
        Image.new("RGB", (16, 16), (119, 119, 119)).save(file)  # L = 50
    entries = read_runs(folders)
    found = list(colour_plots(entries))
    assert [picture.alt.partition(":")[0] for picture, _ in found] == ["L", "a", "b"]
    assert all("grey 0.50." in picture.alt and "without-score" not in picture.alt for picture, _ in found)
    assert {picture.kind for picture, _ in found} == {"plot"}
    shares = histogram(entries[0].samples.files("fake"))
    assert shares.sum(1) == pytest.approx(1)
    assert list(shares.argmax(1)) == [55 + 25, 55, 55]
    assert shares[0, 55 + 25] == 1
    assert list(colour_plots(entries[1:])) == []
    assert histogram([tmp_path / "absent.png"]) is None
