"""The tables of a comparison as HTML: values with intervals, the best of each column, significant differences.

The best value is marked in words, not by colour alone. Wide tables scroll in a box, so that the page fits a phone.
"""

import html
import math
from collections.abc import Iterator, Sequence

from diptych.errors import EvaluationError
from diptych.evaluation.compare.read import Entry, facts_of, score_names, short, split_route
from diptych.evaluation.metrics.intervals import Score, difference
from diptych.evaluation.metrics.table import metric_of

MAX_CELLS = 2400  # of all tables of values; the tables of differences have as many
MAX_METRICS = 120


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


def score_tables(entries: Sequence[Entry], displayed: Sequence[Entry]) -> Iterator[str]:
    """Yield a table for each route: a row for each of the `displayed` runs, a column for each metric.

    The first table also has the facts about the runs. The best value is that of all `entries`.
    """
    for index, (route, names) in enumerate(by_route(entries).items()):
        facts = facts_of(entries) if index == 0 else {}
        best = {name: best_of(entries, name) for name in names}
        decimals = {name: decimals_of(column(entries, name)) for name in names}
        head = ["<td></td>", *(_heading(column(entries, name)[0]) for name in names)]
        head += [f'<th scope="col">{html.escape(title)}</th>' for title in facts.values()]
        rows = []
        for entry in displayed:
            cells = [_value(entry.score(name), decimals[name], entry.name in best[name]) for name in names]
            cells += [f"<td>{html.escape(entry.fact(key))}</td>" for key in facts]
            rows.append(_row(short(entry.name), cells))
        for which, title in (("ceiling", "ceiling: real images"), ("chance", "chance level")):
            texts = [bounds(column(entries, name), which, decimals[name]) for name in names]
            if any(texts):
                cells = [f"<td>{text}</td>" for text in texts] + ["<td></td>"] * len(facts)
                rows.append(_row(title, cells, "bound"))
        facts_title = ", and the cost of each run" if facts else ""
        yield boxed(f"{_route_title(route)}Values and 95 % intervals{facts_title}", head, rows)


def difference_tables(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield a table for each route: each run minus the first by metric, and whether the difference is significant."""
    first = entries[0]
    for route, names in by_route(entries).items():
        head = ["<td></td>", *(_heading(column(entries, name)[0]) for name in names)]
        rows = [
            _row(short(entry.name), [_difference(entry.score(name), first.score(name)) for name in names])
            for entry in entries[1:]
        ]
        yield boxed(f"{_route_title(route)}Each run minus {short(first.name)}, with the 95 % interval", head, rows)


def boxed(caption: str, head: Sequence[str], rows: Sequence[str], kind: str = "figures") -> str:
    """Return a table in a scrolling box that is reachable by keyboard."""
    text = html.escape(caption)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text}"><table class="{kind}">'
        f"<caption>{text}</caption><thead><tr>{''.join(head)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _route_title(route: str) -> str:
    return f"{short(route)}. " if route else ""


def _heading(score: Score) -> str:
    name, metric = html.escape(short(split_route(score.name)[1])), metric_of(score.name)
    unit = f", {metric.unit}" if metric.unit else ""
    direction = f"{metric.arrow} {metric.better} is better{unit}"
    return f'<th scope="col">{name}<small>{direction}</small></th>'


def _row(name: str, cells: Sequence[str], kind: str = "") -> str:
    return f'<tr class="{kind}"><th scope="row">{html.escape(name)}</th>{"".join(cells)}</tr>'


def _value(score: Score | None, decimals: int | None, best: bool) -> str:
    if score is None:
        return "<td>–<small>not measured</small></td>"
    value, low, high = (format_number(number, decimals) for number in (score.value, score.low, score.high))
    text = f'<span class="best">{value}</span> <span class="tag">best</span>' if best else value
    return f"<td>{text}<small>{low} to {high}</small></td>"


def _difference(score: Score | None, first: Score | None) -> str:
    if score is None or first is None:
        return "<td>–<small>not measured</small></td>"
    try:
        delta = difference(score, first)
    except EvaluationError:
        reason = "too few images" if score.count == first.count else "other images"
        return f"<td>–<small>{reason}</small></td>"
    half = (delta.high - delta.low) / 2
    decimals = max(0, 1 - math.floor(math.log10(half))) if 0 < half < math.inf else None
    value, low, high = (format_number(number, decimals, "+") for number in (delta.value, delta.low, delta.high))
    style, verdict = "", "not significant"
    if delta.significant:
        is_better = metric_of(score.name).is_better(score.value, first.value)
        style = ' class="good"' if is_better else ' class="bad"'
        verdict = "significant: better" if is_better else "significant: worse"
    return f"<td>{value}<small>{low} to {high}</small><small{style}>{verdict}</small></td>"
