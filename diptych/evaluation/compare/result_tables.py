"""The tables of a comparison: values with intervals, the best of each column, significant differences."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from diptych.errors import EvaluationError
from diptych.evaluation.compare.read import Entry, facts_of, score_names, short, split_route
from diptych.evaluation.metrics.intervals import Score, difference
from diptych.evaluation.metrics.table import metric_of
from diptych.system.pages import EmbeddedImage

MAX_CELLS = 2400  # of all tables of values; the tables of differences have as many
MAX_METRICS = 120


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, a note below it such as the interval, and the verdict on a difference."""

    text: str = ""
    note: str = ""
    is_best: bool = False
    verdict: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table, of a run or of the bounds of the metrics. The cells of a grid are images."""

    title: str
    cells: Sequence[Cell | EmbeddedImage | None]
    is_bound: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the page, without markup."""

    caption: str
    head: Sequence[Cell]
    rows: Sequence[Row]


NOT_MEASURED = Cell("–", "not measured")


def fitting(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Return the first runs, as many as fit on the page."""
    routes = by_route(entries)
    names = 2 * len(routes)  # the name of a run takes about two cells
    cells = sum(map(len, routes.values())) + names + len(facts_of(entries))
    return entries[: max(1, MAX_CELLS // cells)]


def by_route(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """Return the names of at most MAX_METRICS scores by route; the route is `` if there is only one."""
    routes: dict[str, list[str]] = {}
    for name in score_names(entries)[:MAX_METRICS]:
        routes.setdefault(split_route(name)[0], []).append(name)
    return routes


def best_of(entries: Sequence[Entry], name: str) -> set[str]:
    """Return the names of the runs with the best value of a metric; none if all runs have the same value."""
    scores = {entry.name: score for entry in entries if (score := entry.score(name)) and math.isfinite(score.value)}
    values = {score.value for score in scores.values()}
    if len(values) < 2:
        return set()
    best = min(values, key=metric_of(name).error)
    return {run for run, score in scores.items() if score.value == best}


def decimals_of(scores: Sequence[Score]) -> int | None:
    """Return the decimals that give the narrowest interval of a column two digits; None if it has no width."""
    halves = [half for score in scores if 0 < (half := (score.high - score.low) / 2) < math.inf]
    return max(0, 1 - math.floor(math.log10(min(halves)))) if halves else None


def format_number(value: float, decimals: int | None, sign: str = "") -> str:
    """Return a number with the given decimals, or with four digits if they are unknown or more than 7."""
    if decimals is None or decimals > 7 or not math.isfinite(value):
        return f"{value:{sign}.4g}"
    return f"{value:{sign}.{decimals}f}"


def column(entries: Sequence[Entry], name: str) -> list[Score]:
    """Return the scores of a metric of all runs that have it."""
    return [score for entry in entries if (score := entry.score(name))]


def bounds(scores: Sequence[Score], which: str, decimals: int | None) -> str:
    """Return the ceiling or chance of a column, as a range if runs differ; `` if there is none."""
    given = [score.ceiling if which == "ceiling" else score.chance for score in scores]
    values = sorted({value for value in given if value is not None})
    texts = list(dict.fromkeys(format_number(value, decimals) for value in (values[:1] + values[-1:])))
    return " to ".join(texts)


def score_tables(entries: Sequence[Entry], displayed: Sequence[Entry]) -> Iterator[Table]:
    """Yield a table for each route: a row for each of the `displayed` runs, a column for each metric.

    The first table also has the facts about the runs. The best value is that of all `entries`.
    """
    for index, (route, names) in enumerate(by_route(entries).items()):
        facts = facts_of(entries) if index == 0 else {}
        best = {name: best_of(entries, name) for name in names}
        decimals = {name: decimals_of(column(entries, name)) for name in names}
        rows = []
        for entry in displayed:
            cells = [_value(entry.score(name), decimals[name], entry.name in best[name]) for name in names]
            rows.append(Row(short(entry.name), cells + [Cell(entry.fact(key)) for key in facts]))
        for which, title in (("ceiling", "ceiling: real images"), ("chance", "chance level")):
            texts = [bounds(column(entries, name), which, decimals[name]) for name in names]
            if any(texts):
                rows.append(Row(title, [Cell(text) for text in texts] + [Cell()] * len(facts), is_bound=True))
        caption = f"{_route_title(route)}Values and 95 % intervals{', and the cost of each run' if facts else ''}"
        yield Table(caption, _headings(entries, names) + [Cell(title) for title in facts.values()], rows)


def difference_tables(entries: Sequence[Entry]) -> Iterator[Table]:
    """Yield a table for each route: each run minus the first by metric, and whether the difference is significant."""
    first = entries[0]
    for route, names in by_route(entries).items():
        rows = [
            Row(short(entry.name), [_difference(entry.score(name), first.score(name)) for name in names])
            for entry in entries[1:]
        ]
        caption = f"{_route_title(route)}Each run minus {short(first.name)}, with the 95 % interval"
        yield Table(caption, _headings(entries, names), rows)


def _route_title(route: str) -> str:
    return f"{short(route)}. " if route else ""


def _headings(entries: Sequence[Entry], names: Sequence[str]) -> list[Cell]:
    cells = []
    for name in names:
        metric = metric_of(name)
        unit = f", {metric.unit}" if metric.unit else ""
        cells.append(Cell(short(split_route(name)[1]), f"{metric.arrow} {metric.better} is better{unit}"))
    return cells


def _value(score: Score | None, decimals: int | None, is_best: bool) -> Cell:
    if score is None:
        return NOT_MEASURED
    value, low, high = (format_number(number, decimals) for number in (score.value, score.low, score.high))
    return Cell(value, f"{low} to {high}", is_best)


def _difference(score: Score | None, first: Score | None) -> Cell:
    if score is None or first is None:
        return NOT_MEASURED
    try:
        delta = difference(score, first)
    except EvaluationError:
        return Cell("–", "too few images" if score.count == first.count else "other images")
    half = (delta.high - delta.low) / 2
    decimals = max(0, 1 - math.floor(math.log10(half))) if 0 < half < math.inf else None
    value, low, high = (format_number(number, decimals, "+") for number in (delta.value, delta.low, delta.high))
    verdict = "not significant"
    if delta.significant:
        is_better = metric_of(score.name).is_better(score.value, first.value)
        verdict = "significant: better" if is_better else "significant: worse"
    return Cell(value, f"{low} to {high}", verdict=verdict)
