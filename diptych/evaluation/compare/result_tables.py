"""The tables of a comparison as HTML: values with intervals, the best of each column, and which differences stand.

Best is said in words, never by colour alone. A table scrolls in a box of its own, so that no page is wider than a
phone.
"""

import html
import math
from collections.abc import Iterator, Sequence

from diptych.errors import EvaluationError
from diptych.evaluation.compare.read import FACTS, Entry, measures, short, split_route
from diptych.evaluation.metrics.intervals import Score, difference
from diptych.evaluation.metrics.table import metric_of

CELLS = 2400  # of all tables of values; as many again of differences
COLUMNS = 120  # measures at most


def fitting(entries: Sequence[Entry]) -> Sequence[Entry]:
    """As many runs as a page can hold, the first of them."""
    routes = by_route(entries)
    cells = sum(map(len, routes.values())) + 2 * len(routes) + len(FACTS)  # a name takes about as much as two cells
    return entries[: max(1, CELLS // cells)]


def by_route(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """The names of measures by route, at most `COLUMNS` of them; the route is `` where there is but one."""
    routes: dict[str, list[str]] = {}
    for name in measures(entries)[:COLUMNS]:
        routes.setdefault(split_route(name)[0], []).append(name)
    return routes


def best_of(entries: Sequence[Entry], name: str) -> set[str]:
    """The names of the runs with the best value of a measure: more than one if they are equal, none if all are."""
    found = {each.name: score for each in entries if (score := each.score(name)) and math.isfinite(score.value)}
    values = {score.value for score in found.values()}
    if len(values) < 2:
        return set()
    best = min(values, key=metric_of(name).error)
    return {run for run, score in found.items() if score.value == best}


def places(scores: Sequence[Score]) -> int | None:
    """Decimals with which the sharpest interval of a column has two figures; None if it has no width."""
    halves = [half for score in scores if 0 < (half := (score.high - score.low) / 2) < math.inf]
    return max(0, 1 - math.floor(math.log10(min(halves)))) if halves else None


def number(value: float, decimals: int | None, sign: str = "") -> str:
    """With so many decimals, or in four figures if that is not known, or more than anybody reads."""
    if decimals is None or decimals > 7 or not math.isfinite(value):
        return f"{value:{sign}.4g}"
    return f"{value:{sign}.{decimals}f}"


def column(entries: Sequence[Entry], name: str) -> list[Score]:
    return [score for each in entries if (score := each.score(name))]


def bounds(scores: Sequence[Score], which: str, decimals: int | None) -> str:
    """Ceiling or chance of a column; of runs that do not agree, the least and the most; `` where there is none."""
    given = [each.ceiling if which == "ceiling" else each.chance for each in scores]
    found = sorted({value for value in given if value is not None})
    texts = list(dict.fromkeys(number(value, decimals) for value in (found[:1] + found[-1:])))
    return " to ".join(texts)


def score_tables(entries: Sequence[Entry], listed: Sequence[Entry]) -> Iterator[str]:
    """A table for each route: a row for each of `listed`, a column for each measure; the first has what runs cost too.

    What is best is best of all `entries`.
    """
    for at, (route, names) in enumerate(by_route(entries).items()):
        facts = FACTS if at == 0 else {}
        best = {name: best_of(entries, name) for name in names}
        digits = {name: places(column(entries, name)) for name in names}
        head = ["<td></td>", *(_heading(column(entries, name)[0]) for name in names)]
        head += [f'<th scope="col">{html.escape(words)}</th>' for words in facts.values()]
        rows = []
        for each in listed:
            cells = [_value(each.score(name), digits[name], each.name in best[name]) for name in names]
            cells += [f"<td>{html.escape(each.fact(key))}</td>" for key in facts]
            rows.append(_row(short(each.name), cells))
        for which, words in (("ceiling", "ceiling: real images"), ("chance", "chance: without looking")):
            texts = [bounds(column(entries, name), which, digits[name]) for name in names]
            if any(texts):
                rows.append(_row(words, [f"<td>{text}</td>" for text in texts] + ["<td></td>"] * len(facts), "bound"))
        yield boxed(f"{_of(route)}Values and 95 % intervals{', and what each run cost' * bool(facts)}", head, rows)


def difference_tables(entries: Sequence[Entry]) -> Iterator[str]:
    """A table for each route: each run minus the first, by measure, and whether that stands."""
    first = entries[0]
    for route, names in by_route(entries).items():
        head = ["<td></td>", *(_heading(column(entries, name)[0]) for name in names)]
        rows = [
            _row(short(each.name), [_difference(each.score(name), first.score(name)) for name in names])
            for each in entries[1:]
        ]
        yield boxed(f"{_of(route)}Each run minus {short(first.name)}, with the 95 % interval", head, rows)


def boxed(caption: str, head: Sequence[str], rows: Sequence[str], kind: str = "figures") -> str:
    """A table in a box that scrolls, which a keyboard can reach."""
    text = html.escape(caption)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text}"><table class="{kind}">'
        f"<caption>{text}</caption><thead><tr>{''.join(head)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _of(route: str) -> str:
    return f"{short(route)}. " if route else ""


def _heading(score: Score) -> str:
    name, metric = html.escape(short(split_route(score.name)[1])), metric_of(score.name)
    words = f"{metric.arrow} {metric.better} is better" + (f", {metric.unit}" if metric.unit else "")
    return f'<th scope="col">{name}<small>{words}</small></th>'


def _row(name: str, cells: Sequence[str], kind: str = "") -> str:
    return f'<tr class="{kind}"><th scope="row">{html.escape(name)}</th>{"".join(cells)}</tr>'


def _value(score: Score | None, decimals: int | None, best: bool) -> str:
    if score is None:
        return "<td>–<small>not measured</small></td>"
    value, low, high = (number(each, decimals) for each in (score.value, score.low, score.high))
    shown = f'<span class="best">{value}</span> <span class="tag">best</span>' if best else value
    return f"<td>{shown}<small>{low} to {high}</small></td>"


def _difference(score: Score | None, first: Score | None) -> str:
    if score is None or first is None:
        return "<td>–<small>not measured</small></td>"
    try:
        found = difference(score, first)
    except EvaluationError:
        few = "too few images" if score.count == first.count else "of other images"
        return f"<td>–<small>{few}</small></td>"
    halves = (found.high - found.low) / 2
    decimals = max(0, 1 - math.floor(math.log10(halves))) if 0 < halves < math.inf else None
    value, low, high = (number(each, decimals, "+") for each in (found.value, found.low, found.high))
    kind, words = "", "does not stand"
    if found.stands:
        better = metric_of(score.name).is_better(score.value, first.value)
        kind, words = (' class="good"', "stands: better") if better else (' class="bad"', "stands: worse")
    return f"<td>{value}<small>{low} to {high}</small><small{kind}>{words}</small></td>"
