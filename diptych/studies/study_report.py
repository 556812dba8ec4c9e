"""The report of a study: a page with figures, tables as CSV and LaTeX, and the answers as CSV."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.evaluation.compare.read import Entry
from diptych.studies.analysis import Analysis, Row, StudyResults, as_csv
from diptych.studies.design import Exclusion
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
    write_text(folder / "results.csv", as_csv(analysis, simulated))
    write_text(folder / "results.tex", as_latex(analysis.included, simulated))
    design = analysis.study.design
    facts = {
        "design": f"{design.preset or 'own'}: {design.kind.replace('_', ' ')}, {design.trials} trials for each "
        "participant",
        "participants": f"{analysis.joined} joined; {len(analysis.reasons)} of those who answered are excluded",
        "votes": f"{analysis.included.votes} of main trials",
        "exposures": f"{analysis.off} of {analysis.shown} votes do not count: more than a frame off the design",
        "SHA-256": f"{analysis.study.digest[:16]} of design and images",
    }
    page = render(
        "study_report.html",
        title=design.title,
        simulated=simulated,
        facts=facts,
        figures=[(_figure(analysis.included, each), ": ".join(each)) for each in _measures(analysis.included)],
        has_questions=len(design.questions) > 1,
        included=[_cells(row) for row in analysis.included.rows],
        everyone=[_cells(row) for row in analysis.everyone.rows],
        comparisons=analysis.included.comparisons,
        notes=analysis.included.notes,
        reasons=sorted(analysis.reasons.items()),
        rules=_rules(design.exclude),
        evaluated=len(evaluated),
        min_methods=MIN_METHODS,
        correlations=correlations(evaluated),
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _rules(rules: Exclusion) -> list[str]:
    """Return the rules of exclusion in words."""
    texts = [
        "all trials answered",
        f"at least {rules.min_attention:.0%} of attention checks right",
        f"a median response time of at least {rules.min_response_ms} ms",
        f"the same answer in at most {rules.max_same_answer:.0%} of trials",
    ]
    return [*texts, "not rejected by the screening of ITU-R BT.500"] if rules.bt500 else texts


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
    figure = Figure(figsize=(4.4, 0.8 + 0.4 * len(rows)), dpi=110, layout="constrained")
    axes = figure.subplots()
    factor, unit = (100, ", %") if measure[1] in PERCENT else (1, "")
    values = [factor * row.estimate.value for row in rows]
    errors = [
        [factor * (row.estimate.value - row.estimate.low) for row in rows],
        [factor * (row.estimate.high - row.estimate.value) for row in rows],
    ]
    axes.errorbar(values, range(len(rows)), xerr=errors, fmt="o", color="#1f4e79", capsize=4)
    axes.set_yticks(range(len(rows)), [row.method for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(f"{measure[1]}{unit}, with 95 % interval")
    axes.grid(axis="x", alpha=0.3)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    text = "; ".join(f"{row.method} {value_text(row)}" for row in reversed(rows))
    return EmbeddedImage(data_uri(image.convert("RGB")), f"{measure[1]}: {text}", 484, "plot")


def as_latex(results: StudyResults, simulated: bool = False) -> str:
    """Return a row for each method, with all measures: value and half of the interval; a comment names the columns."""
    columns = {
        f"{question} {measure}": " in %" if measure in PERCENT else "" for question, measure in _measures(results)
    }
    lines = [f"% method & {' & '.join(name + unit for name, unit in columns.items())}"]
    if simulated:
        lines.insert(0, "% simulated participants: these are not answers of people")
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
