"""`diptych.compare`: the page, the CSV and the LaTeX table of runs that were judged."""

import csv
import html
import io
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from commands import TINY, diptych
from PIL import Image

from diptych.compare import LARGEST, compare
from diptych.compare.curves import POINTS, drawn, lines_of
from diptych.compare.export import HEADER, latex, unworked
from diptych.compare.pictures import encoded, spread, strip, tile
from diptych.compare.read import called, in_time, short
from diptych.compare.tables import number, places
from diptych.engine.run import Run
from diptych.errors import EvaluationError
from diptych.evaluate.results import Result, read_result
from diptych.evaluate.samples import Manifest, Row
from diptych.evaluate.scores import of_images, of_set
from diptych.evaluate.tools import Tools
from diptych.launch import train
from diptych.protocols import find_protocol
from diptych.protocols.apply import judge_samples, samples_of
from diptych.recipe import from_settings

NAME = "paired-default"
ABOUT = {
    "method": "pix2pix",
    "steps": 4000,
    "parameters": 54_414_531,
    "training_hours": 1.5,
    "seconds_per_image": 0.012,
    "sources": "abc",
    "pixels": 16,
    "split": "test",
}
HOSTILE = ["<script>alert(1)<", "=cmd()&", "\\input{} $x^2$ 50%_#~", "@a\n'b\"", "_$\\frac{", "-1+1", "日本 \u202e"]
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """A page as a browser takes it: its tags, its text, and the cells of its tables. Every tag must be closed."""

    def __init__(self, path):
        super().__init__()
        self.raw = path.read_text(encoding="utf-8")
        self.tags, self.text, self.tables, self.open = [], [], [], []
        self.feed(self.raw)
        assert set(self.open) <= {"html"}

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data + " "

    def table(self, words):
        """The rows, each by its first cell, of the first table whose caption has these words."""
        caption = next(
            each for each in re.findall("<caption>(.*?)</caption>", self.raw) if words in html.unescape(each)
        )
        at = self.raw[: self.raw.index(f"<caption>{caption}")].count("<table")
        return {row[0].strip(): dict(zip(self.tables[at - 1][0], row, strict=True)) for row in self.tables[at - 1]}

    def images(self):
        return [attributes for tag, attributes in self.tags if tag == "img"]


def run(folder, values=None, routes=("s-t",), count=6, shape=(16, 16, 3), **about):
    """A judged run by hand: scores of `values`, by measure the direction and a number for each image."""
    values = values or {
        "l1": ("lower", np.linspace(0.1, 0.2, count) ** 2),
        "psnr": ("higher", np.linspace(20, 30, count)),
    }
    before = {route: f"{route}/" if len(routes) > 1 else "" for route in routes}
    scores = [of_images(f"{before[r]}{name}", np.array(v), b) for r in routes for name, (b, v) in values.items()]
    result = Result(
        protocol=f"{NAME}/1", name="any", about={**ABOUT, **about}, tools={}, said=("6 things held",), scores=scores
    )
    folder.mkdir(parents=True)
    result.save(folder / "results" / f"{NAME}.json")
    random, rows = np.random.RandomState(0), []
    for route in routes:
        for at in range(count):
            paths = {kind: f"{kind}/{route}/{at}.png" for kind in ("source", "fake", "truth")}
            for path in paths.values():
                keep(folder / "samples" / NAME / path, random.randint(0, 256, shape).astype(np.uint8))
            rows.append(Row(route=route, of=f"{route} {at}" if len(routes) > 1 else f"image <{at}>", **paths))
    manifest = Manifest(format=1, about={**ABOUT, **about}, rows=tuple(rows))
    (folder / "samples" / NAME / "samples.json").write_text(manifest.model_dump_json(exclude_none=True))
    return folder


def keep(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.squeeze()).save(path)


def change(folder, **fields):
    path = folder / "results" / f"{NAME}.json"
    read_result(path).model_copy(update=fields).save(path)


def rows_of(out):
    with (out / "compared.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs that were trained for a moment and judged as `diptych evaluate` does it."""
    folders = []
    for name, setting in (("with-gan", "loss=l1+cgan"), ("without", "loss=l1")):
        folder = tmp_path_factory.mktemp("trained") / name
        settings = [*TINY, setting, "steps=4", "log_every=2", "preview_every=2"]
        train(from_settings({"method": "pix2pix"}, settings), folder)
        result = judge_samples(samples_of(Run.open(folder)), find_protocol(NAME), Tools(), name)
        result.save(folder / "results" / f"{NAME}.json")
        folders.append(folder)
    return folders


def test_a_page_of_trained_runs_has_all_there_is_to_say(trained, tmp_path):
    done = diptych("compare", *trained, "-o", tmp_path)
    assert done.exit_code == 0
    assert "index.html" in done.stdout
    page = Page(tmp_path / "index.html")
    results = {folder.name: read_result(folder / "results" / f"{NAME}.json") for folder in trained}
    table = page.table("Values")
    for run_name, result in results.items():
        for score in result.scores:
            cell = next(cell for head, cell in table[run_name].items() if head.startswith(f"{score.name} "))
            assert float(cell.split()[0]) == pytest.approx(score.value, abs=2e-2 * abs(score.value))
            assert "lower" in next(head for head in table[run_name] if head.startswith("l1 "))
        assert table[run_name]["steps "] == "4 "
        assert table[run_name]["parameters "].strip() == f"{result.about['parameters']:,}"
        assert all(table[run_name][f"{each} "].strip() != "–" for each in ("training time", "time per image"))
    assert set(page.table("minus")) == {"", "without"}
    alts = [each["alt"] for each in page.images()]
    assert sum(alt.startswith("Held-out error source->target by step: with-gan ends at ") for alt in alts) == 1
    assert {"G/l1", "D/real", "D/fake", "G/gan"} <= {m[1] for alt in alts if (m := re.match(r"Loss term (\S+)", alt))}
    assert len(page.table("8 of 154 images")) == 9
    assert sum(alt.startswith("source, translation by") for alt in alts) == 3 * 2 * 8
    assert "154 translations of 32x32 pixels held against their truths" in page.raw


def test_the_page_is_one_file_that_readers_of_screens_can_use(tmp_path):
    page = Page(compare([run(tmp_path / "a"), run(tmp_path / "b")], tmp_path / "out"))
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert all(not name.startswith("on") and name != "style" for _, each in page.tags for name in each)
    assert all(each["src"].startswith("data:image/") and each["alt"] for each in page.images())
    assert not re.search(r"//\w|url\(|@import", re.sub('base64,[^"]*', "", page.raw))
    assert all(each.get("scope") in ("row", "col") for tag, each in page.tags if tag == "th")
    tables = [tag for tag, _ in page.tags if tag in ("table", "caption")]
    assert tables.count("caption") == tables.count("table") - 1  # the list of facts needs none
    assert all(each.get("aria-label") for tag, each in page.tags if each.get("class") == "scroll")
    assert str(tmp_path) not in page.raw


def test_hostile_names_are_texts_everywhere(tmp_path):
    log = {"event": "step", "step": 1, "terms": {"<b>$\\x": 1.0, "bad": "text"}, "error": {"_$": 2.0}}
    runs = []
    for at, name in enumerate(HOSTILE):
        values = {"l1": ("lower", np.arange(6.0)), "@<i>=%": ("higher", np.arange(6.0) + at)}
        runs.append(run(tmp_path / name, values, method="<u>\\& method", data="<a href=x>"))
        change(runs[-1], said=("<em>said",), tools={"<s>": "{hash"})
        (runs[-1] / "events.jsonl").write_text(json.dumps(log) + "\n" + json.dumps({"step": 2, "terms": [1]}) + "\n")
    page = Page(compare(runs, tmp_path / "out"))
    assert not {"script", "i", "u", "a", "em", "b", "s"} & {tag for tag, _ in page.tags}
    assert all(set(each) == {"class", "width", "alt", "src"} for each in page.images())
    table = page.table("Values")
    assert {"<script>alert(1)<", "=cmd()&", "_$\\frac{", "@a\\n'b\""} <= set(table)
    assert table["=cmd()&"]["method "] == "<u>\\& method "
    for text in ("<em>said", "<a href=x>", "{hash"):
        assert any(text in each for each in page.text)
    written = (tmp_path / "out" / "compared.csv").read_bytes().decode()
    cells = [cell for row in csv.reader(io.StringIO(written, newline="")) for cell in row]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r") and not re.fullmatch(r"-?[\d.e+-]+", cell)]
    assert "'=cmd()&" in cells
    balanced((tmp_path / "out" / "compared.tex").read_text(encoding="utf-8"))


def test_many_runs_and_large_pictures_stay_below_the_bound(tmp_path):
    """120 runs of 24 measures in four routes, with pictures that no format makes smaller."""
    routes = [f"{'<' * 20}{at}-b" for at in range(4)]
    first = run(tmp_path / "first", routes=routes, count=10, shape=(200, 260, 3))
    folders = []
    for at in range(120):
        folder = tmp_path / f"{'&<' * 50}{at:03d}"
        folder.mkdir()
        (folder / "samples").symlink_to(first / "samples")
        scores = []
        for name in (f"{route}/measure{each}" for route in routes for each in range(6)):
            score = of_set(name, lambda kept, at=at: kept.sum() + at, 10, "lower")
            scores.append(replace(score, each=tuple(map(float, range(10)))))
        result = Result(
            protocol=f"{NAME}/1", name="a", about=ABOUT, tools={"t": "<" * 9999}, said=("<" * 9999,) * 99, scores=scores
        )
        result.save(folder / "results" / f"{NAME}.json")
        terms = {f"G/{name}": float(np.sin(at)) for name in "abcdefghijkl"}
        events = [{"event": "step", "step": s, "terms": {k: v * s for k, v in terms.items()}} for s in range(200)]
        (folder / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
        folders.append(folder)
    path = compare(folders, tmp_path / "out")
    assert 2_000_000 < path.stat().st_size < LARGEST
    page = Page(path)
    assert len(page.table("10 images through every run")) == 2
    assert "of 120 runs; compared.csv has all" in page.raw
    assert 20 < len(page.table("Values")) < 100
    assert len(rows_of(tmp_path / "out")) == 120 * (24 + 5)
    best = [row for row, cells in page.table("Values").items() if "best" in " ".join(cells.values()).split()]
    assert len(best) == 1
    assert best[0].endswith("000")


def balanced(text):
    """Braces that are not escaped close as they opened, and so do environments."""
    depth = 0
    for sign in re.findall(r"\\.|[{}]", text, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    begun = re.findall(r"\\begin\{(\w+)\}", text)
    assert sorted(begun) == sorted(re.findall(r"\\end\{(\w+)\}", text))
    assert not re.search(r"\\input|[^\\][%#&_](?![ \n])", re.sub(r"^%.*$", "", text, flags=re.MULTILINE))


def test_latex_escapes_all_that_it_would_read():
    assert latex(r"\input{x} 5%_#&$^~") == (
        r"\textbackslash{}input\{x\} 5\%\_\#\&\$\textasciicircum{}\textasciitilde{}"
    )


def test_latex_has_value_half_width_and_best(tmp_path):
    near = {"l1": ("lower", [0.1, 0.2, 0.1, 0.2]), "psnr": ("higher", [20.0] * 4)}
    far = {"l1": ("lower", [0.5, 0.7, 0.5, 0.7]), "psnr": ("higher", [25.0] * 4)}
    runs = [run(tmp_path / name, values, count=4) for name, values in (("near_1", near), ("far", far))]
    compare(runs, tmp_path / "out")
    text = (tmp_path / "out" / "compared.tex").read_text(encoding="utf-8")
    balanced(text)
    assert r"near\_1 & \textbf{0.150} $\pm$ 0.050 & 20 $\pm$ 0 \\" in text
    assert r"far & 0.600 $\pm$ 0.100 & \textbf{25} $\pm$ 0 \\" in text
    assert "Protocol paired-default/1 on 4 images" in text
    assert "Tools: none." in text
    for rule in ("toprule", "midrule", "bottomrule"):
        assert f"\\{rule}" in text


def test_best_is_lowest_or_highest_by_measure_and_nobody_where_all_are_equal(tmp_path):
    runs = []
    for name, l1, psnr in (("a", 0.3, 10.0), ("b", 0.1, 20.0), ("c", 0.2, 30.0), ("d", 0.1, 5.0)):
        values = {"l1": ("lower", [l1] * 4), "psnr": ("higher", [psnr] * 4), "colour/L": ("higher", [1.0] * 4)}
        runs.append(run(tmp_path / name, values, count=4))
    table = Page(compare(runs, tmp_path / "out")).table("Values")
    marked = {head.split()[0]: [r for r in "abcd" if "best" in table[r][head].split()] for head in table["a"] if head}
    assert marked["l1"] == ["b", "d"]
    assert marked["psnr"] == ["c"]
    assert marked["colour/L"] == []


def test_one_run_alone_is_best_at_nothing_and_has_no_differences(tmp_path):
    page = Page(compare([run(tmp_path / "alone")], tmp_path / "out"))
    assert "alone" in page.table("Values")
    assert "best" not in " ".join(page.table("Values")["alone"].values()).split()
    assert "Differences" not in page.raw
    assert "textbf" not in (tmp_path / "out" / "compared.tex").read_text(encoding="utf-8")


def test_differences_are_paired_and_say_whether_they_stand(tmp_path):
    base = np.linspace(0.1, 0.9, 20)  # its own interval is far wider than the difference
    values = {
        "first": (base, base * 10),
        "better": (base - 0.01, base * 10 - 0.1),
        "unclear": (base + np.tile([0.01, -0.01], 10), base * 10),
    }
    runs = [
        run(tmp_path / name, {"l1": ("lower", l1), "psnr": ("higher", psnr)}, count=20)
        for name, (l1, psnr) in values.items()
    ]
    table = Page(compare(runs, tmp_path / "out")).table("Each run minus first")
    l1, psnr = (next(head for head in table["better"] if head.startswith(name)) for name in ("l1", "psnr"))
    assert table["better"][l1].startswith("-0.01 ")
    assert "stands: better" in table["better"][l1]
    assert "stands: worse" in table["better"][psnr]
    assert "does not stand" in table["unclear"][l1]
    assert "first" not in table


def test_too_few_images_tell_no_difference(tmp_path):
    runs = [run(tmp_path / name, {"l1": ("lower", [0.1, 0.2, 0.3])}, count=3) for name in "ab"]
    assert "too few images" in str(Page(compare(runs, tmp_path / "out")).table("minus")["b"])


def test_ceiling_and_chance_are_rows_of_their_own(tmp_path):
    runs = [run(tmp_path / name) for name in "ab"]
    for at, folder in enumerate(runs):
        first, second = read_result(folder / "results" / f"{NAME}.json").scores
        change(folder, scores=(first, replace(second, ceiling=40.0, chance=5.0 + at)))
    page = Page(compare(runs, tmp_path / "out"))
    table = page.table("Values")
    psnr = next(head for head in table["a"] if head.startswith("psnr"))
    ceiling, chance = (next(cells for row, cells in table.items() if row.startswith(w)) for w in ("ceiling", "chance"))
    assert float(ceiling[psnr]) == 40
    assert chance[psnr].split() == ["5.0", "to", "6.0"]
    assert [(row["ceiling"], row["chance"]) for row in rows_of(tmp_path / "out")[:2]] == [("", ""), ("40.0", "5.0")]
    assert "ceiling & -- & 40.0" in (tmp_path / "out" / "compared.tex").read_text(encoding="utf-8")


def test_the_csv_gives_back_every_number(tmp_path):
    runs = [run(tmp_path / name) for name in ("a", "-b")]
    compare(runs, tmp_path / "out")
    written = (tmp_path / "out" / "compared.csv").read_bytes()
    assert written.count(b"\r\n") == written.count(b"\n")
    rows = rows_of(tmp_path / "out")
    assert tuple(rows[0]) == HEADER
    for folder, name in zip(runs, ("a", "'-b"), strict=True):
        mine = {row["measure"]: row for row in rows if row["run"] == name}
        for score in read_result(folder / "results" / f"{NAME}.json").scores:
            row = mine[score.name]
            assert (float(row["value"]), float(row["low"]), float(row["high"])) == (score.value, score.low, score.high)
            assert (row["better"], int(row["images"])) == (score.better, score.count)
        assert float(mine["parameters"]["value"]) == ABOUT["parameters"]
        assert float(mine["seconds_per_image"]["value"]) == ABOUT["seconds_per_image"]
    assert unworked("\t=1") == "'\t=1"


def test_routes_have_tables_grids_and_extremes_of_their_own(tmp_path):
    runs = [run(tmp_path / name, routes=("a-b", "b-a")) for name in ("one", "two")]
    page = Page(compare(runs, tmp_path / "out"))
    for route in ("a-b", "b-a"):
        assert any(head.startswith("l1") for head in page.table(f"{route}. Values")["one"])
        assert "two " in page.table(f"{route}: 6 of 6")[f"{route} 0"]
        assert f"source, translation by one, truth of {route} 5" in [each["alt"] for each in page.images()]
    fronts = [text for text in page.text if text.endswith("is better")]
    assert "a-b/l1, lower is better" in fronts
    assert {row["measure"] for row in rows_of(tmp_path / "out")} >= {"a-b/l1", "b-a/psnr"}


def test_the_best_and_worst_images_are_those_with_such_values(tmp_path):
    values = {"l1": ("lower", [0.5, 0.1, 0.9, 0.3, 0.2]), "psnr": ("higher", [5.0, 1.0, 9.0, 3.0, 2.0])}
    page = Page(compare([run(tmp_path / "a", values, count=5)], tmp_path / "out"))
    captions = re.findall("<figcaption>([^<]*), image &lt;(\\d)&gt;</figcaption>", page.raw)
    assert captions[:5] == [("0.1", "1"), ("0.2", "4"), ("0.3", "3"), ("0.9", "2"), ("0.5", "0")]
    assert captions[5:] == [("9", "2"), ("5", "0"), ("3", "3"), ("1", "1"), ("2", "4")]


@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3), (24, 12, 3), (1, 40)])
def test_grey_and_colour_of_any_shape_are_shown(tmp_path, shape):
    page = Page(compare([run(tmp_path / "a", shape=shape)], tmp_path / "out"))
    assert sum(each["alt"].startswith(("source of", "a of", "truth of")) for each in page.images()) == 3 * 6


def test_pictures_of_other_channel_counts_show_the_first(tmp_path):
    np.save(tmp_path / "x.npy", np.dstack([np.full((4, 4), 7, np.uint8), np.zeros((4, 4, 4), np.uint8)]))
    assert np.asarray(tile(tmp_path / "x.npy", 9)).tolist() == [[7] * 4] * 4
    assert tile(tmp_path / "none.png", 9) is None


def test_without_pictures_the_tables_stay(tmp_path):
    runs = [run(tmp_path / name) for name in ("whole", "gone", "other", "broken", "holes")]
    shutil.rmtree(runs[1] / "samples")
    change(runs[2], about={**ABOUT, "steps": 8000})
    (runs[3] / "samples" / NAME / "samples.json").write_text("{")
    shutil.rmtree(runs[4] / "samples" / NAME / "fake")
    page = Page(compare(runs, tmp_path / "out"))
    assert set(page.table("Values")) >= {"whole", "gone", "other", "broken", "holes"}
    said = next(text for text in page.text if text.startswith("There are no pictures"))
    assert "gone (its samples are gone)" in said
    assert f"other (samples/{NAME} is not what was judged)" in said
    assert f"broken (samples/{NAME} cannot be read)" in said
    cells = page.table("images through every run")["image <0>"]
    assert [each.strip() for each in cells] == ["", "source", "whole", "holes", "truth"]
    assert cells["holes "].strip() == "–"
    for folder in (runs[0], runs[4]):
        shutil.rmtree(folder / "samples")
    assert "through every run" not in Page(compare(runs, tmp_path / "out")).raw


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    runs = [run(tmp_path / above / "run") for above in ("x", "y")]
    assert {"x/run", "y/run"} <= set(Page(compare(runs, tmp_path / "out")).table("Values"))
    assert called([Path("/a/x/r"), Path("/b/x/r"), Path("/c")]) == ["a/x/r", "b/x/r", "c"]
    assert called([Path("/a\n"), Path("/a\\n")]) == ["//a\\n", "//a\\n"]  # and it ends


def test_missing_results_name_the_run_and_the_command(tmp_path):
    there, bare = run(tmp_path / "there"), tmp_path / "two words"
    bare.mkdir()
    command = f"diptych evaluate '{bare}' --protocol {NAME}"
    for protocol in (None, NAME):
        with pytest.raises(EvaluationError, match=re.escape(command)):
            compare([there, bare], tmp_path / "out", protocol)
    with pytest.raises(EvaluationError, match=re.escape(f"`diptych evaluate '{bare}'`")):
        compare([bare], tmp_path / "out")
    with pytest.raises(EvaluationError, match="did you mean 'paired-default'"):
        compare([there], tmp_path / "out", "paired-defualt")
    with pytest.raises(EvaluationError, match="no such folder"):
        compare([tmp_path / "none"], tmp_path / "out")
    with pytest.raises(EvaluationError, match="given 2 times"):
        compare([there, Path(os.path.relpath(there))], tmp_path / "out")
    with pytest.raises(EvaluationError, match="one or more run folders"):
        compare([], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_of_two_protocols_one_must_be_chosen(tmp_path):
    runs = [run(tmp_path / name) for name in "ab"]
    for folder in runs:
        result = read_result(folder / "results" / f"{NAME}.json").model_copy(update={"protocol": "srgan-y/1"})
        result.save(folder / "results" / "srgan-y.json")
    with pytest.raises(EvaluationError, match="paired-default, srgan-y: choose one"):
        compare(runs, tmp_path / "out")
    assert "srgan-y/1" in Page(compare(runs, tmp_path / "out", "srgan-y")).raw
    (runs[1] / "results" / "srgan-y.json").unlink()
    assert "paired-default/1" in Page(compare(runs, tmp_path / "out")).raw


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"protocol": f"{NAME}/2"}, "protocol: paired-default/1 and paired-default/2"),
        ({"about": {**ABOUT, "sources": "other"}}, "sources: abc and other"),
        ({"tools": {"lpips": "123"}}, "lpips: none and 123"),
        ({"protocol": "srgan-y/1"}, "holds results of srgan-y/1, not of paired-default"),
        ({"scores": ()}, "no scores"),
    ],
)
def test_what_was_judged_differently_is_refused(tmp_path, fields, match):
    runs = [run(tmp_path / name) for name in "ab"]
    change(runs[1], **fields)
    for order in (runs, runs[::-1]) if "tools" in fields else (runs,):
        with pytest.raises(EvaluationError, match=match if order is runs else "lpips: 123 and none"):
            compare(order, tmp_path / "out")


def test_logs_become_curves_of_few_finite_points(tmp_path):
    events = [
        {"event": "step", "step": step, "terms": {"G/l1": float(step), "bad": math}}
        for step, math in zip(range(1000), [float("nan"), "x", None, True] * 250, strict=True)
    ]
    (tmp_path / "log").write_text("".join(json.dumps(each) + "\n" for each in events))
    lines = lines_of(tmp_path / "log", "terms")
    steps, values = lines["G/l1"]
    assert len(steps) == POINTS
    assert np.allclose(steps, values)
    assert steps[0] < 10 < 990 < steps[-1]
    assert set(lines) == {"G/l1"}
    assert lines_of(tmp_path / "log", "error") == {}
    assert lines_of(tmp_path / "none", "terms") == {}


def test_plots_take_names_as_they_are_and_show_every_run():
    one = (np.arange(3.0), np.arange(3.0) + 1)
    plain = drawn("G", {0: one}, ["a"])
    for name in ("$\\frac{$", "_hidden", "日本"):
        assert np.abs(np.asarray(drawn("G", {0: one}, [name]).convert("L"), int) - np.asarray(plain.convert("L"))).any()
    drawn("$\\frac{$", {0: one}, ["a"])


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
    assert [in_time(each) for each in (0.00042, 1.5, 90, 7200)] == ["0.42 ms", "1.5 s", "1.5 min", "2 h"]
    assert len(short("x" * 9999)) <= 48
    assert places([]) is None
    assert (number(1.23456, 2), number(1e-9, 10), number(0.5, 1, "+")) == ("1.23", "1e-09", "+0.5")


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """<iframe id="frame" style="width:{width}px;height:9000px;border:0" srcdoc="{page}"></iframe>
<script>addEventListener("load", () => {{
  const inside = document.getElementById("frame").contentDocument, all = [...inside.images];
  const found = [inside.documentElement.scrollWidth, all.length, all.filter(each => !each.naturalWidth).length,
                 inside.querySelectorAll(".scroll").length];
  document.title = found.join(" ");
}})</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium to open the page in")
@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_shows_it_without_complaint_or_overflow(trained, tmp_path, width):
    long = run(tmp_path / ("name" * 40), {"measure" * 9: ("lower", np.arange(6.0))}, sources="x")
    for at, runs in enumerate((trained, [long])):
        page = compare(runs, tmp_path / f"out{at}").read_text(encoding="utf-8")
        probe = tmp_path / "probe.html"
        probe.write_text(PROBE.format(width=width, page=html.escape(page)), encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=9000"]
        flags += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
        done = subprocess.run([BROWSER, *flags, f"file://{probe}"], capture_output=True, text=True, timeout=120)
        assert "CONSOLE" not in done.stderr
        scrolled, images, broken, boxes = map(int, re.search("<title>(.*?)</title>", done.stdout)[1].split())
        assert scrolled <= width
        assert images > 10
        assert broken == 0
        assert boxes >= 2
