"""The report of a study: a page with figures, tables as CSV and LaTeX, and the answers as CSV."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.evaluation.compare.read import Entry
from diptych.studies.analysis import Analysis, Row, StudyResults, as_csv
from diptych.studies.metric_correlation import MIN_METHODS, correlations
from diptych.studies.store import Answer
from diptych.studies.study_folder import StudyFolder
from diptych.system.atomic_files import make_folder, write_text
from diptych.system.pages import EmbeddedImage, data_uri, render

PERCENT = ("rate fooled", "called fake", "chosen")
COLUMNS = (
    "participant", "trial", "phase", "question", "arms", "images", "answer", "correct", "response_ms", "exposures",
    "refresh_hz", "focus_lost",
)  # fmt: skip


def write_report(analysis: Analysis, folder: Path, simulated: bool = False, evaluated: Sequence[Entry] = ()) -> Path:
    """Write `report.html`, `results.csv` and `results.tex` into a folder and return the page.

    evaluated: runs of the methods with their metrics and votes, which are then correlated.
    """
    make_folder(folder)
    write_text(folder / "results.csv", as_csv(analysis))
    write_text(folder / "results.tex", as_latex(analysis.included))
    design = analysis.study.design
    facts = {
        "design": f"{design.preset or 'own'}: {design.kind}, {design.trials} trials for each participant",
        "participants": f"{analysis.joined} joined; {len(analysis.reasons)} of those who answered are excluded",
        "votes": f"{analysis.included.votes} of main trials",
        "exposures": f"off by more than a frame in {analysis.off} of {analysis.shown} votes, which do not count",
        "study": analysis.study.digest[:16],
    }
    page = render(
        "study_report.html",
        title=design.title,
        simulated=simulated,
        facts=facts,
        figures=[(_figure(analysis.included, each), ": ".join(each)) for each in _measures(analysis.included)],
        included=[_cells(row) for row in analysis.included.rows],
        everyone=[_cells(row) for row in analysis.everyone.rows],
        comparisons=analysis.included.comparisons,
        notes=analysis.included.notes,
        reasons=sorted(analysis.reasons.items()),
        rules=design.exclude.model_dump(),
        evaluated=len(evaluated),
        min_methods=MIN_METHODS,
        correlations=correlations(evaluated),
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _measures(results: StudyResults) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row.question, row.measure) for row in results.rows if row.method))


def _cells(row: Row) -> list[str]:
    return [row.question, row.measure, row.method, value_text(row), str(row.estimate.votes), str(row.estimate.raters)]


def value_text(row: Row) -> str:
    """Return value and interval as text, in percent for rates."""
    each = row.estimate
    if row.measure in PERCENT:
        return f"{100 * each.value:.1f} % [{100 * each.low:.1f}, {100 * each.high:.1f}]"
    return f"{each.value:.2f} [{each.low:.2f}, {each.high:.2f}]"


def _figure(results: StudyResults, measure: tuple[str, str]) -> EmbeddedImage:
    """Return a plot of a measure of all methods with its intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in results.rows if (row.question, row.measure) == measure and row.method][::-1]
    figure = Figure(figsize=(6, 0.8 + 0.4 * len(rows)), dpi=110, layout="constrained")
    axes = figure.subplots()
    values = [row.estimate.value for row in rows]
    errors = [
        [row.estimate.value - row.estimate.low for row in rows],
        [row.estimate.high - row.estimate.value for row in rows],
    ]
    axes.errorbar(values, range(len(rows)), xerr=errors, fmt="o", color="#1f4e79", capsize=4)
    axes.set_yticks(range(len(rows)), [row.method for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(f"{measure[1]} (95 % interval over participants)")
    axes.grid(axis="x", alpha=0.3)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    text = "; ".join(f"{row.method} {value_text(row)}" for row in reversed(rows))
    return EmbeddedImage(data_uri(image.convert("RGB")), f"{measure[1]}: {text}", 660, "plot")


def as_latex(results: StudyResults) -> str:
    """Return a row for each method, with all measures: value and half of the interval; a comment names the columns."""
    columns = dict.fromkeys(f"{row.question} {row.measure}" for row in results.rows if row.method)
    lines = [f"% method & {' & '.join(columns)}"]
    for method in dict.fromkeys(row.method for row in results.rows if row.method):
        cells = []
        for row in results.rows:
            if row.method == method:
                factor = 100 if row.measure in PERCENT else 1
                half = (row.estimate.high - row.estimate.low) / 2
                cells.append(f"${factor * row.estimate.value:.2f} \\pm {factor * half:.2f}$")
        lines.append(" & ".join([_escaped(method), *cells]) + r" \\")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "&%$#_{}" else letter for letter in text)


def answers_csv(study: StudyFolder, answers: Sequence[Answer]) -> str:
    """Return a row for each answer, with what was shown where."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    trials = {number: study.trials(number) for number in {answer.participant for answer in answers}}
    for answer in answers:
        trial = trials[answer.participant][answer.trial]
        writer.writerow(
            [
                answer.participant,
                answer.trial,
                trial.phase,
                answer.question,
                " ".join(each.arm for each in trial.shown),
                " ".join(each.image for each in trial.shown),
                answer.answer,
                "" if trial.correct is None else trial.correct,
                answer.response_ms,
                " ".join(f"{measured:.1f}" for _, measured, _ in answer.measured["exposures"]),
                answer.measured.get("refresh_hz", ""),
                answer.measured.get("focus_lost", ""),
            ]
        )
    return text.getvalue()
