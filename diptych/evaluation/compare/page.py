"""Compare runs: an HTML page with tables, curves and images, a CSV file, and a LaTeX table.

    diptych compare runs/a runs/b -o compared

index.html     one file without scripts, under 5 MB for any number of runs and images
compared.csv   a row for each run and metric, and for each fact about a run
compared.tex   the table, for booktabs
"""

import html
from collections.abc import Iterator, Sequence
from pathlib import Path

from diptych.errors import listed
from diptych.evaluation.compare.curves import plots
from diptych.evaluation.compare.export import as_csv, as_latex
from diptych.evaluation.compare.grids import embedded, extremes, grids
from diptych.evaluation.compare.read import Entry, read_runs, score_names, short
from diptych.evaluation.compare.result_tables import MAX_METRICS, difference_tables, fitting, score_tables
from diptych.evaluation.protocols import PROTOCOLS, find_protocol
from diptych.runs import report
from diptych.system.atomic_files import write_text

MAX_BYTES = 5 * 10**6  # of the page
MAX_PLOT = 60_000  # characters of a plot
MAX_LINES = 12  # of notes of a protocol, networks, and missing samples
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # no scripts, no external resources
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
    """Write `index.html`, `compared.csv` and `compared.tex` into `out`, and return the path of the page.

    The results are those of `protocol`, by default of the one protocol that all runs have results of. EvaluationError
    if a run has none, with the command that computes them, and if two runs were evaluated differently.
    """
    entries = read_runs(runs, protocol)
    page = _page(entries)
    assert len(page.encode()) < MAX_BYTES, f"{len(page.encode())} bytes"
    write_text(out / "compared.csv", as_csv(entries))
    write_text(out / "compared.tex", as_latex(entries))
    write_text(out / "index.html", page)
    return out / "index.html"


def _page(entries: Sequence[Entry]) -> str:
    count = f"{len(entries)} runs compared" if len(entries) > 1 else entries[0].name
    page = report.page(f"{short(entries[0].result.protocol)}: {short(count)}", _body(entries))
    policy = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    return page.replace('<meta charset="utf-8">', policy, 1).replace("</style>", f"{STYLE}</style>", 1)


def _body(entries: Sequence[Entry]) -> Iterator[str]:
    yield from _about(entries)
    displayed, names = fitting(entries), score_names(entries)
    yield "<h2>Metrics</h2>"
    yield (
        "<p>Each value with its 95&nbsp;% interval over images of the same kind. "
        "The interval does not include the variation between trainings with the same settings.</p>"
    )
    for kind, shown, total in (
        ("runs", len(displayed), len(entries)),
        ("metrics", min(MAX_METRICS, len(names)), len(names)),
    ):
        if shown < total:
            yield f"<p>The first {shown} of {total} {kind}; compared.csv has all of them.</p>"
    yield from score_tables(entries, displayed)
    if len(entries) > 1:
        yield f"<h2>Differences to {html.escape(short(entries[0].name))}</h2>"
        yield (
            "<p>Run minus run on the same images, with paired intervals. A difference is significant if its interval "
            "excludes 0. By chance, about one in twenty differences is significant although there is none.</p>"
        )
        yield from difference_tables(displayed)
    yield from _curves(entries)
    yield from _images(entries)


def _about(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield the protocol, its notes, the data and the networks."""
    result = entries[0].result
    name = result.protocol.partition("/")[0]
    description = find_protocol(name).description.partition("\n")[0] if name in PROTOCOLS else result.protocol
    notes = list(dict.fromkeys(short(line, 300) for entry in entries for line in entry.result.said))[:MAX_LINES]
    sentences = [description.removesuffix("."), *(line.removesuffix(".") for line in notes)]
    yield f"<p>{html.escape('. '.join(sentences))}.</p>"
    data = {key: result.about.get(key) for key in ("data", "split", "pixels")}
    facts = {
        "protocol": result.protocol,
        "images": ", ".join(map(str, sorted({score.count for score in result.scores}))) or "none",
        **{key: value for key, value in data.items() if value is not None},
        **(dict(list(result.tools.items())[:MAX_LINES]) or {"tools": "none"}),
    }
    yield report.table({short(key): short(str(value), 200) for key, value in facts.items()})


def _curves(entries: Sequence[Entry]) -> Iterator[str]:
    training_plots = list(plots(entries))
    yield "<h2>Training</h2>"
    if not training_plots:
        yield "<p>No run has a training log.</p>"
        return
    figures = []
    for plot in training_plots:
        image = embedded(plot.image, plot.alt, MAX_PLOT, plot.image.width // 2, "plot")
        figures.append(f"<figure>{image}<figcaption>{html.escape(plot.caption)}</figcaption></figure>")
    yield f'<div class="plots">{"".join(figures)}</div>'


def _images(entries: Sequence[Entry]) -> Iterator[str]:
    yield "<h2>Images</h2>"
    missing = [f"{short(entry.name)} ({entry.missing})" for entry in entries if entry.samples is None]
    if missing:
        yield f"<p>There are no images of {html.escape(listed(missing, MAX_LINES))}.</p>"
    with_samples = [entry for entry in entries if entry.samples is not None]
    if not with_samples:
        return
    yield from grids(with_samples)
    sections = list(extremes(with_samples))
    if sections:
        yield "<h2>Best and worst</h2>"
        yield from sections
