"""What the tests of `diptych compare` share: judged runs made by hand, and the page as a browser takes it."""

import csv
import html
import re
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from diptych.evaluation.metrics.intervals import score_per_image
from diptych.evaluation.results import Result, read_result
from diptych.evaluation.samples import Manifest, SampleRow

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
IMAGES = {"real": "abc"}
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
    """A judged run by hand: scores of `values`, by metric a number for each image."""
    values = values or {
        "l1": np.linspace(0.1, 0.2, count) ** 2,
        "psnr": np.linspace(20, 30, count),
    }
    before = {route: f"{route}/" if len(routes) > 1 else "" for route in routes}
    scores = [score_per_image(f"{before[r]}{name}", np.array(v)) for r in routes for name, v in values.items()]
    result = Result(
        protocol=f"{NAME}/1",
        name="any",
        about={**ABOUT, **about},
        images=IMAGES,
        tools={},
        said=("6 things held",),
        scores=scores,
    )
    folder.mkdir(parents=True)
    result.save(folder / "results" / f"{NAME}.json")
    random, rows = np.random.RandomState(0), []
    for route in routes:
        for at in range(count):
            paths = {kind: f"{kind}/{route}/{at}.png" for kind in ("source", "fake", "truth")}
            for path in paths.values():
                keep(folder / "samples" / NAME / path, random.randint(0, 256, shape).astype(np.uint8))
            rows.append(SampleRow(route=route, of=f"{route} {at}" if len(routes) > 1 else f"image <{at}>", **paths))
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
