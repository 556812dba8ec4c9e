"""Runs held against each other: a page with tables, curves and pictures, a CSV, and a table for a paper.

    diptych compare runs/a runs/b -o compared

index.html     one file without scripts that opens anywhere, under 5 MB however many runs and pictures there are
compared.csv   a row for each run and measure, and for what each run cost
compared.tex   the table, for booktabs
"""

import html
from collections.abc import Iterator, Sequence
from pathlib import Path

from diptych.evaluation.compare.curves import plots
from diptych.evaluation.compare.export import as_csv, as_latex
from diptych.evaluation.compare.grids import embedded, extremes, grids
from diptych.evaluation.compare.read import Entry, measures, read_runs, short
from diptych.evaluation.compare.result_tables import COLUMNS, difference_tables, fitting, score_tables
from diptych.evaluation.protocols import PROTOCOLS, find_protocol
from diptych.runs import report
from diptych.system.atomic_files import write_text

LARGEST = 5 * 10**6  # bytes of the page
PLOT = 60_000  # characters of one plot
LINES = 12  # of what a protocol said
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # even a mistake here could load or run nothing
STYLE = """
body { max-width: 76rem } p, li { max-width: 48rem } h1 { overflow-wrap: anywhere; line-height: 1.2 }
table { margin: 0 } caption { text-align: left; padding: .3rem 0; font-size: .9rem; color: #555 }
.scroll { overflow-x: auto; margin: 1rem 0 } .scroll:focus-visible { outline: 2px solid #4a90d9 }
.figures th, .figures td { padding: .3rem 1.2rem .3rem 0; overflow-wrap: normal; white-space: nowrap }
.figures thead th { vertical-align: bottom } thead td { border: 0 }
.figures tbody th { font-weight: 400; border-top: 1px solid #ddd; min-width: 6rem; max-width: 14rem }
.figures tbody th { white-space: normal; overflow-wrap: anywhere }
.figures tbody th:first-child { position: sticky; left: 0; background: #fff }
.figures small { display: block; font-weight: 400; color: #555 } tr.bound th, tr.bound td { font-style: italic }
.best { font-weight: 700 } .tag { font-size: .8rem; font-weight: 700; color: #17663a }
.good { color: #17663a } .bad { color: #a3261b }
.figures small.good { color: #17663a } .figures small.bad { color: #a3261b }
.tiles th, .tiles td { padding: 0 .3rem .3rem 0; border: 0; font-weight: 400; font-size: .85rem; vertical-align: top }
.tiles th { overflow-wrap: anywhere; min-width: 5rem; max-width: 9rem } .tiles img { display: block; max-width: none }
.tiles thead th { vertical-align: bottom }
.plots { display: grid; gap: 0 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)) }
.strips { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem } .strips figure { margin: .3rem 0; max-width: 100% }
.strips figcaption { overflow-wrap: anywhere; max-width: 24rem; font-variant-numeric: tabular-nums }
h3 { margin: 1rem 0 0; font-size: 1rem; overflow-wrap: anywhere } .strips + p, h3 + p { margin: .5rem 0 0 }
@media (prefers-color-scheme: dark) {
  caption, figcaption, .figures small { color: #aaa } .figures tbody th { border-color: #444 }
  .figures tbody th:first-child { background: #181818 } .good, .tag, .figures small.good { color: #7ccf9b }
  .bad, .figures small.bad { color: #f09a8f }
}
"""


def compare(runs: Sequence[Path], out: Path, protocol: str | None = None) -> Path:
    """Write `index.html`, `compared.csv` and `compared.tex` into `out`; returns the first of them.

    The results are those of `protocol`, or of the one that all runs have results of. EvaluationError where a run has
    none, with the command that makes them, and where two were judged differently.
    """
    entries = read_runs(runs, protocol)
    page = _page(entries)
    assert len(page.encode()) < LARGEST, f"{len(page.encode())} bytes"
    write_text(out / "compared.csv", as_csv(entries))
    write_text(out / "compared.tex", as_latex(entries))
    write_text(out / "index.html", page)
    return out / "index.html"


def _page(entries: Sequence[Entry]) -> str:
    count = f"{len(entries)} runs compared" if len(entries) > 1 else entries[0].name
    page = report.page(f"{short(entries[0].result.protocol)}: {short(count)}", _body(entries))
    policy = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" lambda_content="{POLICY}">'
    return page.replace('<meta charset="utf-8">', policy, 1).replace("</style>", f"{STYLE}</style>", 1)


def _body(entries: Sequence[Entry]) -> Iterator[str]:
    yield from _about(entries)
    listed, names = fitting(entries), measures(entries)
    yield "<h2>Measures</h2>"
    yield (
        "<p>Each value with its 95&nbsp;% interval: how far it might move with other images of the same kind. "
        "It does not tell how far another training with the same settings would move it.</p>"
    )
    for what, shown, every in (("runs", listed, entries), ("measures", names[:COLUMNS], names)):
        if len(shown) < len(every):
            yield f"<p>The first {len(shown)} of {len(every)} {what}; compared.csv has all of them.</p>"
    yield from score_tables(entries, listed)
    if len(entries) > 1:
        yield f"<h2>Differences to {html.escape(short(entries[0].name))}</h2>"
        yield (
            "<p>Run minus run on the same images, so the interval is one of pairs. A difference stands if its interval "
            "leaves out 0. Of many differences that are none, about one in twenty stands by chance.</p>"
        )
        yield from difference_tables(listed)
    yield from _curves(entries)
    yield from _pictures(entries)


def _about(entries: Sequence[Entry]) -> Iterator[str]:
    """What was done to come to these numbers."""
    result = entries[0].result
    name = result.protocol.partition("/")[0]
    what = find_protocol(name).about.partition("\n")[0] if name in PROTOCOLS else result.protocol
    said = list(dict.fromkeys(short(line, 300) for each in entries for line in each.result.said))[:LINES]
    pieces = [what.removesuffix("."), *(line.removesuffix(".") for line in said)]
    yield f"<p>{html.escape('. '.join(pieces))}.</p>"
    data = {key: result.about.get(key) for key in ("data", "split", "pixels")}
    facts = {
        "protocol": result.protocol,
        "images": ", ".join(map(str, sorted({score.count for score in result.scores}))) or "none",
        **{key: value for key, value in data.items() if value is not None},
        **(dict(list(result.tools.items())[:LINES]) or {"tools": "none"}),
    }
    yield report.table({short(key): short(str(value), 200) for key, value in facts.items()})


def _curves(entries: Sequence[Entry]) -> Iterator[str]:
    found = list(plots(entries))
    yield "<h2>Training</h2>"
    if not found:
        yield "<p>No run has a log of its training.</p>"
        return
    figures = []
    for plot in found:
        picture = embedded(plot.picture, plot.alt, PLOT, plot.picture.width // 2, "plot")
        figures.append(f"<figure>{picture}<figcaption>{html.escape(plot.caption)}</figcaption></figure>")
    yield f'<div class="plots">{"".join(figures)}</div>'


def _pictures(entries: Sequence[Entry]) -> Iterator[str]:
    yield "<h2>Pictures</h2>"
    lacking = [f"{short(each.name)} ({each.lacking})" for each in entries if each.samples is None]
    if lacking:
        more = f" and {len(lacking) - LINES} more" if len(lacking) > LINES else ""
        yield f"<p>There are no pictures of {html.escape(', '.join(lacking[:LINES]))}{more}.</p>"
    pictured = [each for each in entries if each.samples is not None]
    if not pictured:
        return
    yield from grids(pictured)
    best = list(extremes(pictured))
    if best:
        yield "<h2>Best and worst</h2>"
        yield from best
