"""Plots: curves of losses, errors and scores of the event log over the steps of all stages, and other curves."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.runs.events import read_events

MAX_POINTS = 120  # of a curve
# the colour-blind safe palette of Okabe and Ito; further curves have other line styles
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
LINE_STYLES = ("-", "--", ":", "-.")

REFERENCE_COLOUR = "#999999"

Curve = tuple[np.ndarray, np.ndarray]  # steps and values


def read_curves(log: Path, group: str) -> dict[str, Curve]:
    """Return the curves of a group of the log, such as `terms`, by name; gradient norms are left out.

    Neighbours in a long log are averaged; non-finite values are skipped.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    for event in read_events(log):
        values = event.get(group)
        for name, value in values.items() if isinstance(values, dict) else ():
            if _is_finite(value) and not name.endswith("/gradient"):
                points.setdefault(name, []).append((event["step"], value))
    curves = {}
    for name, pairs in points.items():
        parts = np.array_split(np.array(pairs, float), min(MAX_POINTS, len(pairs)))
        steps, means = np.array([part.mean(0) for part in parts]).T
        curves[name] = (steps, means)
    return curves


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def draw_plot(
    label: str,
    curves: Mapping[int, Curve],
    names: Sequence[str],
    x_label: str = "step",
    is_log: bool = False,
    reference: tuple[str, Curve] | None = None,
) -> Image.Image:
    """Return a plot 960 pixels wide, for display at half size, with curves by the index of their name in `names`.

    A name has the same colour and line style in every plot. `reference` is a name and a curve, drawn below the others.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    labels = [names[index] for index in curves] + ([reference[0]] if reference else [])
    rows = math.ceil(len(labels) / 2)
    figure = Figure(figsize=(4.8, 2.7 + 0.18 * rows), layout="constrained", dpi=200)
    axes = figure.add_subplot()
    handles = []
    for index, (steps, values) in curves.items():
        handles += axes.plot(
            steps,
            values,
            linewidth=1.4,
            marker="." if len(steps) < 30 else None,
            color=COLOURS[index % len(COLOURS)],
            linestyle=LINE_STYLES[index // len(COLOURS) % len(LINE_STYLES)],
        )
    if reference:
        handles += axes.plot(*reference[1], linewidth=4, color=REFERENCE_COLOUR, zorder=1)
    all_values = np.concatenate([values for _, values in curves.values()])
    is_wide = all_values.min() > 0 and all_values.max() > 30 * all_values.min()
    axes.set(yscale="log" if is_log or is_wide else "linear")
    axes.set_xlabel(x_label, fontsize=9)
    axes.set_ylabel(label, fontsize=9, parse_math=False)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    legend = figure.legend(
        handles, list(map(str, range(len(handles)))), loc="outside lower center", fontsize=8, ncols=2, frameon=False
    )
    for text, name in zip(legend.get_texts(), labels, strict=True):  # not as labels: matplotlib hides those with `_`
        text.set_parse_math(False)
        text.set_text(name)
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # for scripts that the font lacks
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(64)
