"""The images of a comparison, embedded in the page: the same sources for every run, and the best and worst of each run.

The total size is limited: with many images, each becomes smaller, then fewer are shown.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.data.images import image_io
from diptych.errors import ImageError
from diptych.evaluation.compare.read import Entry, score_names, short, split_route
from diptych.evaluation.compare.result_tables import Cell, Row, Table, format_number
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.metrics.table import metric_of
from diptych.evaluation.samples import SampleRow, Samples
from diptych.system.pages import EmbeddedImage, data_uri

GRID_CHARS, STRIP_CHARS = 1_400_000, 1_800_000  # of all images of the grids, and of the best and worst
IMAGE_CHARS = 40_000  # of one image
MAX_RUNS, MAX_ROUTES, MAX_METRICS = 48, 8, 12  # with images
MAX_ROWS, MAX_TILES = 8, 160  # rows of a grid; tiles of all grids, which have at least one row
MAX_ENDS, MAX_STRIPS = 4, 288  # best and worst images of each run and metric; strips in total
TILE_SIDE, STRIP_SIDE, MIN_SIDE = 192, 160, 96  # pixels: longer side in a grid, a strip, and of enlarged small images
GAP = 3  # pixels between the images of a strip

Strips = dict[
    str, list[tuple[EmbeddedImage | None, str]]
]  # images (None: unreadable) with captions by heading, Best or Worst


def grids(entries: Sequence[Entry]) -> tuple[list[str], list[Table]]:
    """Return notes on what is left out, and a table of images for each route: source, every run, ground truth."""
    shown, routes = entries[:MAX_RUNS], _routes(entries[0])
    tiles = len(routes) * (len(shown) + 2) or 1
    rows = min(MAX_ROWS, max(1, MAX_TILES // tiles))
    limit = min(IMAGE_CHARS, GRID_CHARS // (tiles * rows))
    tables = []
    for route, first in routes.items():
        columns = _columns(shown, route, first)
        body = []
        for index in spread(len(first.rows), rows):
            name = short(first.rows[index].of or Path(first.rows[index].fake).name, 32)
            body.append(Row(name, [column.cell(index, name, limit) for column in columns]))
        prefix = f"{short(route)}: " if len(routes) > 1 else ""
        caption = f"{prefix}{len(body)} of {len(first.rows)} images, translated by every run"
        tables.append(Table(caption, [Cell(column.title) for column in columns], body))
    all_routes = _samples(entries[0]).by_route()
    notes = (_first_of(shown, entries, "runs"), _first_of(routes, all_routes, "routes"))
    return [f"{note.capitalize()}." for note in notes if note], tables


def extremes(entries: Sequence[Entry]) -> tuple[str, list[tuple[str, list[tuple[str, Strips]]]]]:
    """Return a note, and the best and the worst images of each metric of single images and run, with their titles."""
    all_names = [name for name in score_names(entries) if any(_per_image(entry, name) for entry in entries)]
    names = all_names[:MAX_METRICS]
    if not names:
        return "", []
    shown = entries[: min(MAX_RUNS, max(1, MAX_STRIPS // (2 * len(names))))]
    count = min(MAX_ENDS, max(1, MAX_STRIPS // (2 * len(names) * len(shown))))
    limit = min(IMAGE_CHARS, STRIP_CHARS // (2 * len(names) * len(shown) * count))
    left_out = [note for note in (_first_of(shown, entries, "runs"), _first_of(names, all_names, "metrics")) if note]
    note = (
        f"For each metric of single images: up to {count} best and {count} worst, as source, translation and "
        f"{'; '.join(['ground truth, if known', *left_out])}."
    )
    metrics = []
    for name in names:
        runs = [
            (short(entry.name), _best_and_worst(*found, count, limit, f"translation by {short(entry.name)}"))
            for entry in shown
            if (found := _per_image(entry, name))
        ]
        metrics.append((f"{short(name)}, {metric_of(name).better} is better", runs))
    return note, metrics


def spread(count: int, wanted: int) -> list[int]:
    """Return up to `wanted` indices below `count`, evenly spaced from the first to the last."""
    return sorted({round(position) for position in np.linspace(0, count - 1, min(count, wanted))})


def encoded(image: Image.Image, limit: int) -> str:
    """Return a data URI of at most `limit` characters, at least 2,000: PNG if it fits, else JPEG, reduced as needed.

    The image has mode L, RGB or P.
    """
    source = data_uri(image, "PNG")
    small = full = image.convert("RGB") if image.mode == "P" else image
    for quality in (88, 75):
        source = source if len(source) <= limit else data_uri(full, "JPEG", quality=quality)
    while len(source) > limit and max(small.size) > 8:
        size = (max(1, small.width * 4 // 5), max(1, small.height * 4 // 5))
        small = full.resize(size, Image.Resampling.BICUBIC)
        source = data_uri(small, "JPEG", quality=75)
    return source


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
    """A column of a grid: its title, and which files of the samples it holds: `source`, `fake` or `truth`."""

    title: str
    samples: Samples | None
    which: str

    def cell(self, index: int, name: str, limit: int) -> EmbeddedImage | None:
        if self.samples is None or index >= len(self.samples.rows):
            return None
        file = _names(self.samples.rows[index])[self.which]
        image = tile(self.samples.folder / file, TILE_SIDE) if file else None
        if image is None:
            return None
        width = display_width(image.size, image.width)
        return EmbeddedImage(encoded(image, limit), f"{self.title} of {name}", width)


def display_width(size: tuple[int, int], width: int) -> int:
    """Return the width on the page of an element `width` wide; images smaller than MIN_SIDE are enlarged n times."""
    return width * max(1, -(-MIN_SIDE // max(size)))


def _columns(entries: Sequence[Entry], route: str, first: Samples) -> list[GridColumn]:
    columns = [GridColumn(short(entry.name), _samples(entry).by_route().get(route), "fake") for entry in entries]
    if any(row.source for row in first.rows):
        columns.insert(0, GridColumn("source", first, "source"))
    if any(row.truth for row in first.rows):
        columns.append(GridColumn("ground truth", first, "truth"))
    return columns


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


def _best_and_worst(score: Score, samples: Samples, limit: int, max_chars: int, title: str) -> Strips:
    order = np.argsort(score.each, kind="stable")
    order = order if metric_of(score.name).better == "lower" else order[::-1]
    best = min(limit, (len(order) + 1) // 2)
    worst = min(best, len(order) - best)
    return {
        heading: [_figure(samples, int(index), score.each[index], max_chars, title) for index in indices]
        for heading, indices in (("Best", order[:best]), ("Worst", order[::-1][:worst]))
        if len(indices)
    }


def _figure(samples: Samples, index: int, value: float, limit: int, title: str) -> tuple[EmbeddedImage | None, str]:
    row = samples.rows[index]
    titles = {"source": "source", "fake": title, "truth": "ground truth"}
    images = {
        titles[which]: image
        for which, name in _names(row).items()
        if name and (image := tile(samples.folder / name, STRIP_SIDE))
    }
    label = short(row.of or Path(row.fake).name, 32)
    caption = f"{format_number(value, None)}, {label}"
    if not images:
        return None, caption
    joined = strip(list(images.values()))
    largest = max((image.size for image in images.values()), key=max)
    width = display_width(largest, joined.width)
    return EmbeddedImage(encoded(joined, limit), f"{', '.join(images)} of {label}", width), caption


def _first_of(shown: Collection[object], entries: Collection[object], kind: str) -> str:
    return f"the first {len(shown)} of {len(entries)} {kind}" if len(shown) < len(entries) else ""
