"""The numbers of a comparison for other programs: RFC 4180 for spreadsheets, booktabs for papers."""

import csv
import io
from collections.abc import Iterator, Sequence

from diptych.evaluation.compare.read import FACTS, Entry, split_route
from diptych.evaluation.compare.result_tables import best_of, bounds, by_route, column, number, places
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.metrics.table import metric_of

HEADER = ("run", "measure", "value", "low", "high", "better", "images", "ceiling", "chance")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins so is worked out by spreadsheets
ABREAST = 4  # measures side by side on a page of paper
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
    """A row for each run and measure; then for what each run was and cost, in the units of its result."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(HEADER)
    for each in entries:
        for score in each.result.scores:
            ends = (_plain(score.ceiling), _plain(score.chance))
            numbers = (score.value, score.low, score.high, metric_of(score.name).better, score.count, *ends)
            writer.writerow((unworked(each.name), unworked(score.name), *numbers))
        for key in FACTS:
            value = each.result.about.get(key)
            shown = value if isinstance(value, int | float) else unworked(str(_plain(value)))
            writer.writerow((unworked(each.name), key, shown, *[""] * 6))
    return file.getvalue()


def unworked(text: str) -> str:
    """With an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def as_latex(entries: Sequence[Entry]) -> str:
    """One table float of `tabular`s, four measures each: the value, half the width of its interval, the best bold."""
    result = entries[0].result
    counts = sorted({score.count for score in result.scores})
    tools = "; ".join(f"{name} {value}" for name, value in result.tools.items()) or "none"
    caption = (
        f"Protocol {latex(result.protocol)} on {', '.join(map(str, counts))} images. Behind each value half the width "
        f"of its 95\\,\\% interval over images; bold is the best of a column. Tools: {latex(tools)}."
    )
    blocks = [
        (route, names[first : first + ABREAST])
        for route, names in by_route(entries).items()
        for first in range(0, len(names), ABREAST)
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
    """As text, whatever it holds."""
    return "".join(ESCAPES.get(sign, sign) for sign in text)


def _tabular(entries: Sequence[Entry], route: str, names: Sequence[str]) -> Iterator[str]:
    heads = [_heading(name) for name in names]
    best = {name: best_of(entries, name) for name in names}
    digits = {name: places(column(entries, name)) for name in names}
    yield f"\\begin{{tabular}}{{l{'r' * len(names)}}}\n\\toprule"
    yield f"{' & '.join([latex(route), *heads])} \\\\\n\\midrule"
    for each in entries:
        cells = [_cell(each.score(name), digits[name], each.name in best[name]) for name in names]
        yield f"{' & '.join([_first(latex(each.name)), *cells])} \\\\"
    lines = [
        (which, [bounds(column(entries, name), which, digits[name]) or "--" for name in names])
        for which in ("ceiling", "chance")
    ]
    lines = [(which, texts) for which, texts in lines if set(texts) != {"--"}]
    if lines:
        yield "\\midrule"
    yield from (f"{' & '.join([which, *texts])} \\\\" for which, texts in lines)
    yield "\\bottomrule\n\\end{tabular}"


def _heading(name: str) -> str:
    metric = metric_of(name)
    arrow = {"↓": r"$\downarrow$", "↑": r"$\uparrow$"}[metric.arrow]
    return f"{latex(split_route(name)[1])} {arrow}" + (f" ({latex(metric.unit)})" if metric.unit else "")


def _first(text: str) -> str:
    """At the begin of a row, where a bracket or a star would be read as an option of the row before."""
    return f"{{}}{text}" if text.startswith(("[", "*")) else text


def _cell(score: Score | None, decimals: int | None, best: bool) -> str:
    if score is None:
        return "--"
    value, half = number(score.value, decimals), number((score.high - score.low) / 2, decimals)
    return f"\\textbf{{{value}}} $\\pm$ {half}" if best else f"{value} $\\pm$ {half}"


def _plain(value: object) -> object:
    return "" if value is None else value
