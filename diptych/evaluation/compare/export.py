"""The scores of a comparison as CSV (RFC 4180) and as a LaTeX table (booktabs)."""

import csv
import io
from collections.abc import Iterator, Sequence

from diptych.evaluation.compare.read import Entry, facts_of, split_route
from diptych.evaluation.compare.result_tables import best_of, bounds, by_route, column, decimals_of, format_number
from diptych.evaluation.compare.study_votes import is_vote
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.metrics.table import metric_of

HEADER = ("run", "measure", "value", "low", "high", "better", "images", "ceiling", "chance")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # spreadsheets evaluate a cell that starts with one of these
TABLE_COLUMNS = 4  # metrics side by side
ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    "–": "--",
    "…": r"\ldots{}",
    **{sign: "\\" + sign for sign in "{}$&#%_"},
}


def as_csv(entries: Sequence[Entry]) -> str:
    """Return CSV with a row for each run and metric, then a row for each fact about the run."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(HEADER)
    for entry in entries:
        for score in entry.result.scores:
            bounds = (_blank_if_none(score.ceiling), _blank_if_none(score.chance))
            values = (score.value, score.low, score.high, metric_of(score.name).better, score.count, *bounds)
            writer.writerow((escape_formula(entry.name), escape_formula(score.name), *values))
        for key in facts_of(entries):
            value = entry.result.about.get(key)
            cell = value if isinstance(value, int | float) else escape_formula(str(_blank_if_none(value)))
            writer.writerow((escape_formula(entry.name), key, cell, *[""] * 6))
    return file.getvalue()


def escape_formula(text: str) -> str:
    """Return text with an apostrophe in front if a spreadsheet would evaluate it as a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def as_latex(entries: Sequence[Entry]) -> str:
    """Return a LaTeX table of `tabular`s with four metrics each: value and half its interval, the best in bold."""
    result = entries[0].result
    counts = sorted({score.count for score in result.scores})
    tools = "; ".join(f"{name} {value}" for name, value in result.tools.items()) or "none"
    over = "images (votes: over participants)" if any(is_vote(score.name) for score in result.scores) else "images"
    caption = (
        f"Protocol {latex(result.protocol)} on {', '.join(map(str, counts))} images. Values with half the width of "
        f"their 95\\,\\% interval over {over}; the best of a column is bold. Tools: {latex(tools)}."
    )
    blocks = [
        (route, names[first : first + TABLE_COLUMNS])
        for route, names in by_route(entries).items()
        for first in range(0, len(names), TABLE_COLUMNS)
    ]
    tabulars = "\n\n\\medskip\n".join("\n".join(_tabular(entries, *block)) for block in blocks)
    return (
        "% \\usepackage{booktabs}\n\\begin{table}\n\\centering\n\\caption{"
        + caption
        + "}\n"
        + tabulars
        + "\n\\end{table}\n"
    )


def latex(text: str) -> str:
    """Return text with all special characters of LaTeX escaped."""
    return "".join(ESCAPES.get(character, character) for character in text)


def _tabular(entries: Sequence[Entry], route: str, names: Sequence[str]) -> Iterator[str]:
    headings = [_heading(name) for name in names]
    best = {name: best_of(entries, name) for name in names}
    decimals = {name: decimals_of(column(entries, name)) for name in names}
    yield f"\\begin{{tabular}}{{l{'r' * len(names)}}}\n\\toprule"
    yield f"{' & '.join([latex(route), *headings])} \\\\\n\\midrule"
    for entry in entries:
        cells = [_cell(entry.score(name), decimals[name], entry.name in best[name]) for name in names]
        yield f"{' & '.join([_first_cell(latex(entry.name)), *cells])} \\\\"
    rows = [
        (which, [bounds(column(entries, name), which, decimals[name]) or "--" for name in names])
        for which in ("ceiling", "chance")
    ]
    rows = [(which, texts) for which, texts in rows if set(texts) != {"--"}]
    if rows:
        yield "\\midrule"
    yield from (f"{' & '.join([which, *texts])} \\\\" for which, texts in rows)
    yield "\\bottomrule\n\\end{tabular}"


def _heading(name: str) -> str:
    metric = metric_of(name)
    arrow = {"↓": r"$\downarrow$", "↑": r"$\uparrow$"}[metric.arrow]
    return f"{latex(split_route(name)[1])} {arrow}" + (f" ({latex(metric.unit)})" if metric.unit else "")


def _first_cell(text: str) -> str:
    """Return the first cell of a row; LaTeX reads a bracket or star there as an option of the row before."""
    return f"{{}}{text}" if text.startswith(("[", "*")) else text


def _cell(score: Score | None, decimals: int | None, best: bool) -> str:
    if score is None:
        return "--"
    value = format_number(score.value, decimals)
    half = format_number((score.high - score.low) / 2, decimals)
    return f"\\textbf{{{value}}} $\\pm$ {half}" if best else f"{value} $\\pm$ {half}"


def _blank_if_none(value: object) -> object:
    return "" if value is None else value
