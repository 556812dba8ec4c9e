"""The images of a comparison, embedded in the page: the same sources for every run, and the best and worst of each run.

The total size is limited: with many images, each becomes smaller, then fewer are shown.
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
from diptych.evaluation.compare.read import Entry, score_names, short, split_route
from diptych.evaluation.compare.result_tables import boxed, format_number
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.metrics.table import metric_of
from diptych.evaluation.samples import SampleRow, Samples

GRID_CHARS, STRIP_CHARS = 1_400_000, 1_800_000  # of all images of the grids, and of the best and worst
IMAGE_CHARS = 40_000  # of one image
MAX_RUNS, MAX_ROUTES, MAX_METRICS = 48, 8, 12  # with images
MAX_ROWS, MAX_TILES = 8, 160  # rows of a grid; tiles of all grids, which have at least one row
MAX_ENDS, MAX_STRIPS = 4, 288  # best and worst images of each run and metric; strips in total
TILE_SIDE, STRIP_SIDE, MIN_SIDE = (
    192,
    160,
    96,
)  # pixels: longer side in a grid, in a strip, and of enlarged small images
GAP = 3  # pixels between the images of a strip


def grids(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield a table of images for each route: source, every run, and the ground truth if known."""
    shown, routes = entries[:MAX_RUNS], _routes(entries[0])
    if not routes:
        return
    rows = min(MAX_ROWS, max(1, MAX_TILES // (len(routes) * (len(shown) + 2))))
    limit = min(IMAGE_CHARS, GRID_CHARS // (len(routes) * rows * (len(shown) + 2)))
    if len(shown) < len(entries):
        yield f"<p>The first {len(shown)} of {len(entries)} runs.</p>"
    if len(routes) < len(_samples(entries[0]).by_route()):
        yield f"<p>The first {len(routes)} of {len(_samples(entries[0]).by_route())} routes.</p>"
    for route, first in routes.items():
        columns = _columns(shown, route, first)
        head = "<td></td>" + "".join(f'<th scope="col">{html.escape(column.title)}</th>' for column in columns)
        body = []
        for index in spread(len(first.rows), rows):
            name = short(first.rows[index].of or Path(first.rows[index].fake).name, 32)
            cells = [f"<td>{column.cell(index, name, limit)}</td>" for column in columns]
            body.append(f'<tr><th scope="row">{html.escape(name)}</th>{"".join(cells)}</tr>')
        prefix = f"{short(route)}: " if len(routes) > 1 else ""
        caption = f"{prefix}{len(body)} of {len(first.rows)} images, translated by every run"
        yield boxed(caption, [head], body, "tiles")


def extremes(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield the best and the worst images of each run, with their values, for each metric of single images."""
    all_names = [name for name in score_names(entries) if any(_per_image(entry, name) for entry in entries)]
    names = all_names[:MAX_METRICS]
    if not names:
        return
    shown = entries[: min(MAX_RUNS, max(1, MAX_STRIPS // (2 * len(names))))]
    count = min(MAX_ENDS, max(1, MAX_STRIPS // (2 * len(names) * len(shown))))
    limit = min(IMAGE_CHARS, STRIP_CHARS // (2 * len(names) * len(shown) * count))
    yield (
        f"<p>For each metric of single images: up to {count} best and {count} worst, as source, translation and "
        f"ground truth, if known{_first_of(shown, entries, 'runs')}{_first_of(names, all_names, 'metrics')}.</p>"
    )
    for index, name in enumerate(names):
        parts = []
        for entry in shown:
            if score_and_samples := _per_image(entry, name):
                parts.append(f"<h3>{html.escape(short(entry.name))}</h3>")
                parts += _best_and_worst(*score_and_samples, count, limit, f"translation by {short(entry.name)}")
        score = next(score for entry in shown if (score := entry.score(name)))
        summary = f"{html.escape(short(name))}, {metric_of(score.name).better} is better"
        is_open = " open" if index == 0 else ""
        yield f"<details{is_open}><summary>{summary}</summary>{''.join(parts)}</details>"


def spread(count: int, wanted: int) -> list[int]:
    """Return up to `wanted` indices below `count`, evenly spaced from the first to the last."""
    return sorted({round(position) for position in np.linspace(0, count - 1, min(count, wanted))})


def embedded(image: Image.Image, alt: str, limit: int, width: int, kind: str = "pixels") -> str:
    """Return an `img` element, `width` pixels wide, with the image embedded in at most `limit` characters."""
    source = encoded(image, limit)
    kind = "plot" if image.width > width else kind
    return f'<img class="{kind}" width="{width}" alt="{html.escape(alt)}" src="{source}">'


def encoded(image: Image.Image, limit: int) -> str:
    """Return a data URI of at most `limit` characters, at least 2,000: PNG if it fits, else JPEG, reduced as needed.

    The image has mode L, RGB or P.
    """
    source = _uri(image, "PNG")
    small = full = image.convert("RGB") if image.mode == "P" else image
    for quality in (88, 75):
        source = source if len(source) <= limit else _uri(full, "JPEG", quality=quality)
    while len(source) > limit and max(small.size) > 8:
        size = (max(1, small.width * 4 // 5), max(1, small.height * 4 // 5))
        small = full.resize(size, Image.Resampling.BICUBIC)
        source = _uri(small, "JPEG", quality=75)
    return source


def _uri(image: Image.Image, kind: str, **options: Any) -> str:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"


def tile(path: Path, side: int) -> Image.Image | None:
    """Return an image, grey or RGB, whose longer side is at most `side`; None if it cannot be read.

    Of other numbers of channels, the first is shown.
    """
    try:
        pixels = image_io.read(path)
    except ImageError:
        return None
    pixels = pixels if pixels.shape[2] in (1, 3) else pixels[..., :1]
    if pixels.dtype != np.uint8:
        pixels = image_io.from_unit(image_io.to_unit(pixels), np.uint8)
    image = image_io.to_pil(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def strip(images: Sequence[Image.Image]) -> Image.Image:
    """Return images side by side, resized to the height of the tallest."""
    height = max(image.height for image in images)
    resized = [
        image.resize((max(1, round(image.width * height / image.height)), height), Image.Resampling.NEAREST)
        for image in images
    ]
    mode = "RGB" if any(image.mode == "RGB" for image in resized) else "L"
    canvas = Image.new(mode, (sum(image.width + GAP for image in resized) - GAP, height), "white")
    left = 0
    for image in resized:
        canvas.paste(image, (left, 0))
        left += image.width + GAP
    return canvas


@dataclass(frozen=True)
class GridColumn:
    """A column of a grid: its title, and the file of each image or None."""

    title: str
    file: Callable[[int], Path | None]

    def cell(self, index: int, name: str, limit: int) -> str:
        path = self.file(index)
        image = tile(path, TILE_SIDE) if path else None
        if image is None:
            return "–"
        return embedded(image, f"{self.title} of {name}", limit, display_width(image.size, image.width))


def display_width(size: tuple[int, int], width: int) -> int:
    """Return the width on the page of an element `width` wide; images smaller than MIN_SIDE are enlarged n times."""
    return width * max(1, -(-MIN_SIDE // max(size)))


def _columns(entries: Sequence[Entry], route: str, first: Samples) -> list[GridColumn]:
    routes = [(short(entry.name), _samples(entry).by_route().get(route)) for entry in entries]
    columns = [GridColumn(title, _file(samples, "fake")) for title, samples in routes]
    if any(row.source for row in first.rows):
        columns.insert(0, GridColumn("source", _file(first, "source")))
    if any(row.truth for row in first.rows):
        columns.append(GridColumn("ground truth", _file(first, "truth")))
    return columns


def _file(samples: Samples | None, which: str) -> Callable[[int], Path | None]:
    def file_of(index: int) -> Path | None:
        if samples is None or index >= len(samples.rows):
            return None
        name = _names(samples.rows[index])[which]
        return samples.folder / name if name else None

    return file_of


def _names(row: SampleRow) -> dict[str, str | None]:
    return {"source": row.source, "fake": row.fake, "truth": row.truth}


def _samples(entry: Entry) -> Samples:
    assert entry.samples is not None
    return entry.samples


def _routes(entry: Entry) -> dict[str, Samples]:
    return dict(list(_samples(entry).by_route().items())[:MAX_ROUTES])


def _per_image(entry: Entry, name: str) -> tuple[Score, Samples] | None:
    """Return a score with a value for each image, and the samples in the same order; None if there is none."""
    score, routes = entry.score(name), _samples(entry).by_route()
    route = split_route(name)[0] if len(routes) > 1 else next(iter(routes), "")
    samples = routes.get(route)
    if score and samples and score.each and len(score.each) == len(samples.rows):
        return score, samples
    return None


def _best_and_worst(score: Score, samples: Samples, limit: int, max_chars: int, title: str) -> Iterator[str]:
    order = np.argsort(score.each, kind="stable")
    order = order if metric_of(score.name).better == "lower" else order[::-1]
    best = min(limit, (len(order) + 1) // 2)
    worst = min(best, len(order) - best)
    for heading, indices in (("Best", order[:best]), ("Worst", order[::-1][:worst])):
        if len(indices):
            figures = "".join(_figure(samples, int(index), score.each[index], max_chars, title) for index in indices)
            yield f'<p>{heading}</p><div class="strips">{figures}</div>'


def _figure(samples: Samples, index: int, value: float, limit: int, title: str) -> str:
    row = samples.rows[index]
    titles = {"source": "source", "fake": title, "truth": "ground truth"}
    images = {
        titles[which]: image
        for which, name in _names(row).items()
        if name and (image := tile(samples.folder / name, STRIP_SIDE))
    }
    label = short(row.of or Path(row.fake).name, 32)
    content = "the images cannot be read"
    if images:
        joined = strip(list(images.values()))
        largest = max((image.size for image in images.values()), key=max)
        content = embedded(joined, f"{', '.join(images)} of {label}", limit, display_width(largest, joined.width))
    caption = f"{format_number(value, None)}, {html.escape(label)}"
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>"


def _first_of(shown: Sequence[object], entries: Sequence[object], kind: str) -> str:
    return f"; the first {len(shown)} of {len(entries)} {kind}" if len(shown) < len(entries) else ""
