"""Training curves: a plot for each held-out error, score and loss term, with a line for each run."""

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.evaluation.compare.read import Entry, short
from diptych.runs.events import read_events
from diptych.runs.report import series

MAX_ERRORS, MAX_SCORES, MAX_TERMS = 4, 8, 8  # plots
MAX_RUNS = 24  # in a plot
MAX_POINTS = 120  # of a curve
# the colour-blind safe palette of Okabe and Ito; further runs have other line styles
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
LINE_STYLES = ("-", "--", ":", "-.")

Curve = tuple[np.ndarray, np.ndarray]  # steps and values


@dataclass(frozen=True)
class Plot:
    """A plot with its caption and its text for screen readers."""

    image: Image.Image
    caption: str
    alt: str


def plots(entries: Sequence[Entry]) -> Iterator[Plot]:
    """Yield plots of held-out errors, scores and loss terms; those that most runs have come first."""
    names = [short(entry.name, 32) for entry in entries[:MAX_RUNS]]
    more = f", the first {MAX_RUNS} of {len(entries)} runs" if len(entries) > MAX_RUNS else ""
    groups = (
        ("error", MAX_ERRORS, "Held-out error"),
        ("scores", MAX_SCORES, "Held-out score"),
        ("terms", MAX_TERMS, "Loss term"),
    )
    for group, max_plots, title_start in groups:
        logs = [read_curves(entry.folder / "events.jsonl", group) for entry in entries[:MAX_RUNS]]
        counts = Counter(name for log in logs for name in log)
        ranked = [name for name, _ in counts.most_common()]
        plotted, omitted = ranked[:max_plots], short(", ".join(ranked[max_plots:]), 200)
        for name in plotted:
            curves = {run: log[name] for run, log in enumerate(logs) if name in log}
            ends = ", ".join(f"{names[run]} ends at {values[-1]:.3g}" for run, (_, values) in curves.items())
            title = f"{title_start} {short(name)} by step{more}"
            note = f" Not plotted: {omitted}." if omitted and name == plotted[-1] else ""
            yield Plot(draw_plot(short(name), curves, names), f"{title}.{note}", f"{title}: {ends}.")


def read_curves(log: Path, group: str) -> dict[str, Curve]:
    """Return the curves of a log by name. Neighbours in a long log are averaged; non-finite values are skipped."""
    events = [event for event in read_events(log) if isinstance(event.get(group), dict)]
    curves = {}
    for name, (steps, values) in series(events, group).items():
        points = [(step, float(value)) for step, value in zip(steps, values, strict=True) if _is_finite(value)]
        if points:
            parts = np.array_split(np.array(points), min(MAX_POINTS, len(points)))
            means = np.array([part.mean(0) for part in parts])
            curves[name] = (means[:, 0], means[:, 1])
    return curves


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def draw_plot(label: str, curves: Mapping[int, Curve], names: Sequence[str]) -> Image.Image:
    """Return a plot 1,200 pixels wide, for display at half size, with a curve for each run by its index in `names`.

    A run has the same colour and line style in every plot.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = math.ceil(len(curves) / 3)
    figure = Figure(figsize=(6, 3.2 + 0.18 * rows), layout="constrained", dpi=200)
    axes = figure.add_subplot()
    handles = []
    for run, (steps, values) in curves.items():
        handles += axes.plot(
            steps,
            values,
            linewidth=1.4,
            marker="." if len(steps) < 30 else None,
            color=COLOURS[run % len(COLOURS)],
            linestyle=LINE_STYLES[run // len(COLOURS) % len(LINE_STYLES)],
        )
    all_values = np.concatenate([values for _, values in curves.values()])
    is_wide = all_values.min() > 0 and all_values.max() > 30 * all_values.min()
    axes.set(yscale="log" if is_wide else "linear")
    axes.set_xlabel("step", fontsize=9)
    axes.set_ylabel(label, fontsize=9, parse_math=False)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    legend = figure.legend(
        handles, list(map(str, range(len(handles)))), loc="outside lower center", fontsize=8, ncols=3, frameon=False
    )
    for text, run in zip(legend.get_texts(), curves, strict=True):  # not as labels: matplotlib hides those with `_`
        text.set_parse_math(False)
        text.set_text(names[run])
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # for scripts that the font lacks
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(64)
