"""`diptych compare`: the page of runs that were judged."""

import csv
import html
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from commands import NO_DISCRIMINATOR, TINY, diptych
from compared import ABOUT, IMAGES, NAME, Page, balanced, change, rows_of, run

from diptych.evaluation.compare.page import MAX_BYTES, compare
from diptych.evaluation.metrics.intervals import score_of_set
from diptych.evaluation.protocols import find_protocol
from diptych.evaluation.results import Result, read_result
from diptych.evaluation.runner import evaluate_samples, samples_of
from diptych.evaluation.tools import Tools
from diptych.runs.folder import Run
from diptych.settings.recipe import from_settings
from diptych.workflows.train import train

pytestmark = pytest.mark.usefixtures("drawn_plots")
HOSTILE = ["<script>alert(1)<", "=cmd()&", "\\input{} $x^2$ 50%_#~", "@a\n'b\"", "_$\\frac{", "-1+1", "日本 \u202e"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs that were trained for a moment and judged as `diptych evaluate` does it."""
    folders = []
    for name, words in (("with-gan", [*TINY, "loss=l1+cgan"]), ("without", [*NO_DISCRIMINATOR, "loss=l1"])):
        folder = tmp_path_factory.mktemp("trained") / name
        settings = [*words, "steps=4", "log_every=2", "preview_every=2"]
        train(from_settings({"method": "pix2pix"}, settings), folder)
        result = evaluate_samples(samples_of(Run.open(folder)), find_protocol(NAME), Tools(), name)
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
    assert "154 translations of 32x32 pixels compared with their ground truth" in page.raw


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
        values = {"l1": np.arange(6.0), "@<i>=%-b/psnr": np.arange(6.0) + at}
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
    """90 runs of 24 measures in four routes, with pictures that no format makes smaller."""
    routes = [f"{'<' * 20}{at}-b" for at in range(4)]
    first = run(tmp_path / "first", routes=routes, count=10, shape=(200, 260, 3))
    folders = []
    for at in range(90):
        folder = tmp_path / f"{'&<' * 50}{at:03d}"
        folder.mkdir()
        (folder / "samples").symlink_to(first / "samples")
        scores = []
        for name in (f"{route}/{each}" for route in routes for each in ("fid", "kid", "psnr", "ssim", "lpips", "dice")):
            score = score_of_set(name, lambda kept, at=at: kept.sum() + at, 10)
            scores.append(replace(score, each=tuple(map(float, range(10)))))
        result = Result(
            protocol=f"{NAME}/1",
            name="a",
            about=ABOUT,
            images=IMAGES,
            tools={"t": "<" * 9999},
            said=("<" * 9999,) * 20,
            scores=scores,
        )
        result.save(folder / "results" / f"{NAME}.json")
        terms = {f"G/{name}": float(np.sin(at)) for name in "abcdefghijkl"}
        values = [{k: v * s for k, v in terms.items()} for s in range(200)]
        events = [{"event": "step", "step": s, "terms": v, "scores": v} for s, v in enumerate(values)]
        (folder / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
        folders.append(folder)
    path = compare(folders, tmp_path / "out")
    assert 2_000_000 < path.stat().st_size < MAX_BYTES
    page = Page(path)
    assert len(page.table("10 images, translated by every run")) == 2
    assert "of 90 runs; compared.csv has all" in page.raw
    assert 20 < len(page.table("Values")) < 90
    assert len(rows_of(tmp_path / "out")) == 90 * (24 + 5)
    best = [row for row, cells in page.table("Values").items() if "best" in " ".join(cells.values()).split()]
    assert len(best) == 1
    assert best[0].endswith("000")


def test_routes_have_tables_grids_and_extremes_of_their_own(tmp_path):
    runs = [run(tmp_path / name, routes=("a-b", "b-a")) for name in ("one", "two")]
    page = Page(compare(runs, tmp_path / "out"))
    for route in ("a-b", "b-a"):
        assert any(head.startswith("l1") for head in page.table(f"{route}. Values")["one"])
        assert "two " in page.table(f"{route}: 6 of 6")[f"{route} 0"]
        assert f"source, translation by one, ground truth of {route} 5" in [each["alt"] for each in page.images()]
    fronts = [text for text in page.text if text.endswith("is better")]
    assert "a-b/l1, lower is better" in fronts
    assert {row["measure"] for row in rows_of(tmp_path / "out")} >= {"a-b/l1", "b-a/psnr"}


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
    long = run(tmp_path / ("name" * 40), {"accuracy " + "measure" * 8: np.arange(6.0)}, sources="x")
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
