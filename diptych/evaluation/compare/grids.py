"""The pictures of a comparison, inside the page: the same sources through every run, and the best and worst of each.

A page has room for so many bytes of pictures. The more there are, the smaller each of them is, then the fewer.
"""

import base64
import html
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diptych.data.images import image_io
from diptych.errors import ImageError
from diptych.evaluation.compare.read import Entry, measures, short, split_route
from diptych.evaluation.compare.result_tables import boxed, number
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.metrics.table import metric_of
from diptych.evaluation.samples import SampleRow, Samples

GRIDS, ENDS = 1_400_000, 1_800_000  # characters of all pictures of the grids, of the best and worst
LARGEST = 40_000  # characters of one picture
RUNS, ROUTES, MEASURES = 48, 8, 12  # that have pictures, at most
ROWS, TILES = 8, 160  # of one grid, of all grids (or a row each)
KEPT, STRIPS = 4, 288  # best and as many worst of each run and measure; of all
TILE, PART, SEEN = 192, 160, 96  # pixels: the longer side in a grid, in a strip, and what smaller pictures are shown at
GAP = 3  # pixels between the pictures of a strip


def grids(entries: Sequence[Entry]) -> Iterator[str]:
    """For each route a table of pictures: source, every run, and the truth where it is known. All have samples."""
    shown, routes = entries[:RUNS], _routes(entries[0])
    if not routes:
        return
    rows = min(ROWS, max(1, TILES // (len(routes) * (len(shown) + 2))))
    limit = min(LARGEST, GRIDS // (len(routes) * rows * (len(shown) + 2)))
    if len(shown) < len(entries):
        yield f"<p>The first {len(shown)} of {len(entries)} runs.</p>"
    if len(routes) < len(_samples(entries[0]).by_route()):
        yield f"<p>The first {len(routes)} of {len(_samples(entries[0]).by_route())} routes.</p>"
    for route, first in routes.items():
        columns = _columns(shown, route, first)
        head = "<td></td>" + "".join(f'<th scope="col">{html.escape(each.title)}</th>' for each in columns)
        body = []
        for number_ in spread(len(first.rows), rows):
            name = short(first.rows[number_].of or Path(first.rows[number_].fake).name, 32)
            cells = [f"<td>{each.cell(number_, name, limit)}</td>" for each in columns]
            body.append(f'<tr><th scope="row">{html.escape(name)}</th>{"".join(cells)}</tr>')
        caption = f"{len(body)} of {len(first.rows)} images through every run"
        yield boxed(f"{f'{short(route)}: ' if len(routes) > 1 else ''}{caption}", [head], body, "tiles")


def extremes(entries: Sequence[Entry]) -> Iterator[str]:
    """For each measure of single images the best and the worst images of each run, with their values."""
    every = [name for name in measures(entries) if any(_each(entry, name) for entry in entries)]
    names = every[:MEASURES]
    if not names:
        return
    shown = entries[: min(RUNS, max(1, STRIPS // (2 * len(names))))]
    kept = min(KEPT, max(1, STRIPS // (2 * len(names) * len(shown))))
    limit = min(LARGEST, ENDS // (2 * len(names) * len(shown) * kept))
    yield (
        f"<p>By each measure of single images: up to {kept} best and {kept} worst, as source, translation and truth, "
        f"as far as they are known{_first(shown, entries, 'runs')}{_first(names, every, 'measures')}.</p>"
    )
    for at, name in enumerate(names):
        parts = []
        for entry in shown:
            if found := _each(entry, name):
                parts.append(f"<h3>{html.escape(short(entry.name))}</h3>")
                parts += _ends(*found, kept, limit, f"translation by {short(entry.name)}")
        score = next(score for entry in shown if (score := entry.score(name)))
        summary = f"{html.escape(short(name))}, {metric_of(score.name).better} is better"
        yield f"<details{' open' * (at == 0)}><summary>{summary}</summary>{''.join(parts)}</details>"


def spread(count: int, wanted: int) -> list[int]:
    """So many numbers below `count`, evenly from the first to the last."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, wanted))})


def embedded(picture: Image.Image, alt: str, limit: int, width: int, kind: str = "pixels") -> str:
    """An `img` that holds the picture in at most `limit` characters, shown `width` pixels wide."""
    source = encoded(picture, limit)
    kind = "plot" if picture.width > width else kind
    return f'<img class="{kind}" width="{width}" alt="{html.escape(alt)}" src="{source}">'


def encoded(picture: Image.Image, limit: int) -> str:
    """A data URI of at most `limit` characters, 2,000 at least: PNG where that fits, else JPEG, as small as it must be.

    The picture is grey (L), in colour (RGB), or has a palette (P).
    """
    source = _uri(picture, "PNG")
    small = full = picture.convert("RGB") if picture.mode == "P" else picture
    for quality in (88, 75):
        source = source if len(source) <= limit else _uri(full, "JPEG", quality=quality)
    while len(source) > limit and max(small.size) > 8:
        size = (max(1, small.width * 4 // 5), max(1, small.height * 4 // 5))
        small = full.resize(size, Image.Resampling.BICUBIC)
        source = _uri(small, "JPEG", quality=75)
    return source


def _uri(picture: Image.Image, kind: str, **options: Any) -> str:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"


def tile(path: Path, side: int) -> Image.Image | None:
    """A picture, grey or in colour, its longer side at most `side`; of other channel counts the first is shown.

    None if it cannot be read.
    """
    try:
        pixels = image_io.read(path)
    except ImageError:
        return None
    pixels = pixels if pixels.shape[2] in (1, 3) else pixels[..., :1]
    if pixels.dtype != np.uint8:
        pixels = image_io.from_unit(image_io.to_unit(pixels), np.uint8)
    picture = image_io.to_pil(np.ascontiguousarray(pixels))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def strip(pictures: Sequence[Image.Image]) -> Image.Image:
    """Side by side, the smaller ones enlarged to the height of the highest."""
    height = max(each.height for each in pictures)
    level = [
        each.resize((max(1, round(each.width * height / each.height)), height), Image.Resampling.NEAREST)
        for each in pictures
    ]
    mode = "RGB" if any(each.mode == "RGB" for each in level) else "L"
    whole = Image.new(mode, (sum(each.width + GAP for each in level) - GAP, height), "white")
    left = 0
    for each in level:
        whole.paste(each, (left, 0))
        left += each.width + GAP
    return whole


@dataclass(frozen=True)
class Column:
    """Of a grid: its title, and the file of each image or None."""

    title: str
    file: Callable[[int], Path | None]

    def cell(self, at: int, name: str, limit: int) -> str:
        path = self.file(at)
        picture = tile(path, TILE) if path else None
        if picture is None:
            return "–"
        return embedded(picture, f"{self.title} of {name}", limit, seen_at(picture.size, picture.width))


def seen_at(size: tuple[int, int], width: int) -> int:
    """The width on the page of what is `width` wide and holds pictures of this size: tiny ones whole times larger."""
    return width * max(1, -(-SEEN // max(size)))


def _columns(entries: Sequence[Entry], route: str, first: Samples) -> list[Column]:
    parts = [(short(entry.name), _samples(entry).by_route().get(route)) for entry in entries]
    columns = [Column(title, _file(part, "fake")) for title, part in parts]
    if any(row.source for row in first.rows):
        columns.insert(0, Column("source", _file(first, "source")))
    if any(row.truth for row in first.rows):
        columns.append(Column("truth", _file(first, "truth")))
    return columns


def _file(samples: Samples | None, which: str) -> Callable[[int], Path | None]:
    def find(at: int) -> Path | None:
        if samples is None or at >= len(samples.rows):
            return None
        name = _names(samples.rows[at])[which]
        return samples.folder / name if name else None

    return find


def _names(row: SampleRow) -> dict[str, str | None]:
    return {"source": row.source, "fake": row.fake, "truth": row.truth}


def _samples(entry: Entry) -> Samples:
    assert entry.samples is not None
    return entry.samples


def _routes(entry: Entry) -> dict[str, Samples]:
    return dict(list(_samples(entry).by_route().items())[:ROUTES])


def _each(entry: Entry, name: str) -> tuple[Score, Samples] | None:
    """A score that has a value for each image, and the samples that these are of, row by row."""
    score, routes = entry.score(name), _samples(entry).by_route()
    route = split_route(name)[0] if len(routes) > 1 else next(iter(routes), "")
    part = routes.get(route)
    return (score, part) if score and part and score.each and len(score.each) == len(part.rows) else None


def _ends(score: Score, samples: Samples, kept: int, limit: int, by: str) -> Iterator[str]:
    order = np.argsort(score.each, kind="stable")
    order = order if metric_of(score.name).better == "lower" else order[::-1]
    count = min(kept, (len(order) + 1) // 2)
    for words, chosen in (("Best", order[:count]), ("Worst", order[::-1][: min(count, len(order) - count)])):
        if len(chosen):
            figures = "".join(_figure(samples, int(at), score.each[at], limit, by) for at in chosen)
            yield f'<p>{words}</p><div class="strips">{figures}</div>'


def _figure(samples: Samples, at: int, value: float, limit: int, by: str) -> str:
    row = samples.rows[at]
    words = {"source": "source", "fake": by, "truth": "truth"}
    found = {
        words[which]: picture
        for which, name in _names(row).items()
        if name and (picture := tile(samples.folder / name, PART))
    }
    label = short(row.of or Path(row.fake).name, 32)
    shown = "the pictures cannot be read"
    if found:
        whole = strip(list(found.values()))
        largest = max((each.size for each in found.values()), key=max)
        shown = embedded(whole, f"{', '.join(found)} of {label}", limit, seen_at(largest, whole.width))
    return f"<figure>{shown}<figcaption>{number(value, None)}, {html.escape(label)}</figcaption></figure>"


def _first(shown: Sequence[object], every: Sequence[object], what: str) -> str:
    return f"; the first {len(shown)} of {len(every)} {what}" if len(shown) < len(every) else ""
