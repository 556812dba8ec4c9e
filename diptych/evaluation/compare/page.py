"""Compare runs: an HTML page with tables, curves and images, a CSV file, and a LaTeX table.

    diptych compare runs/a runs/b -o compared

index.html     one file without scripts, under 5 MB for any number of runs and images
compared.csv   a row for each run and metric, and for each fact about a run
compared.tex   the table, for booktabs
"""

from collections.abc import Sequence
from pathlib import Path

from diptych.errors import listed
from diptych.evaluation.compare.colour_histograms import colour_plots
from diptych.evaluation.compare.curves import plots
from diptych.evaluation.compare.export import as_csv, as_latex
from diptych.evaluation.compare.grids import extremes, grids
from diptych.evaluation.compare.read import Entry, read_runs, score_names, short
from diptych.evaluation.compare.result_tables import MAX_METRICS, difference_tables, fitting, score_tables
from diptych.evaluation.compare.study_votes import is_vote, read_votes, with_votes
from diptych.evaluation.protocols import PROTOCOLS, find_protocol
from diptych.evaluation.results import Result
from diptych.system.atomic_files import write_text
from diptych.system.pages import render

MAX_BYTES = 5 * 10**6  # of the page
MAX_LINES = 12  # of notes of a protocol, networks, and missing samples


def compare(runs: Sequence[Path], out: Path, protocol: str | None = None, study: Path | None = None) -> Path:
    """Write `index.html`, `compared.csv` and `compared.tex` into `out`, and return the path of the page.

    The results are those of `protocol`, by default of the one protocol that all runs have results of, and the votes of
    a `study`. EvaluationError if a run has none, with the command that computes them, and if two runs were evaluated
    differently.
    """
    entries = evaluated_runs(runs, protocol, study)
    page = _page(entries)
    assert len(page.encode()) < MAX_BYTES, f"{len(page.encode())} bytes"
    write_text(out / "compared.csv", as_csv(entries))
    write_text(out / "compared.tex", as_latex(entries))
    write_text(out / "index.html", page)
    return out / "index.html"


def evaluated_runs(runs: Sequence[Path], protocol: str | None = None, study: Path | None = None) -> list[Entry]:
    """Return every run with its result, and with the votes of a study. EvaluationError as in `compare`."""
    entries = read_runs(runs, protocol)
    return with_votes(entries, read_votes(study)) if study else entries


def _page(entries: Sequence[Entry]) -> str:
    title = short(f"{len(entries)} runs compared" if len(entries) > 1 else entries[0].name)
    displayed, metrics = fitting(entries), len(score_names(entries))
    missing = [f"{short(entry.name)} ({entry.missing})" for entry in entries if entry.samples is None]
    with_samples = [entry for entry in entries if entry.samples is not None]
    return render(
        "compare.html",
        title=f"{short(entries[0].result.protocol)}: {title}",
        about=_about(entries),
        facts=_facts(entries[0].result),
        runs=len(entries),
        runs_shown=len(displayed),
        metrics=metrics,
        has_votes=any(is_vote(name) for name in score_names(entries)),
        metrics_shown=min(MAX_METRICS, metrics),
        scores=score_tables(entries, displayed),
        first_run=short(entries[0].name),
        differences=difference_tables(displayed),
        colours=list(colour_plots(entries)),
        plots=list(plots(entries)),
        missing=listed(missing, MAX_LINES) if missing else "",
        grids=grids(with_samples) if with_samples else ((), ()),
        extremes=extremes(with_samples) if with_samples else ("", ()),
    )


def _about(entries: Sequence[Entry]) -> str:
    """Return the description of the protocol and its notes."""
    protocol = entries[0].result.protocol
    name = protocol.partition("/")[0]
    description = find_protocol(name).description.partition("\n")[0] if name in PROTOCOLS else protocol
    notes = list(dict.fromkeys(short(line, 300) for entry in entries for line in entry.result.said))[:MAX_LINES]
    return ". ".join(line.removesuffix(".") for line in (description, *notes)) + "."


def _facts(result: Result) -> dict[str, str]:
    """Return the protocol, the data and the networks of the metrics."""
    data = {key: result.about.get(key) for key in ("data", "split", "pixels")}
    facts = {
        "protocol": result.protocol,
        "images": ", ".join(map(str, sorted({score.count for score in result.scores}))) or "none",
        **{key: value for key, value in data.items() if value is not None},
        **(dict(list(result.tools.items())[:MAX_LINES]) or {"tools": "none"}),
    }
    return {short(key): short(str(value), 200) for key, value in facts.items()}
