"""Curves of training, all runs in one plot for each error, score and term."""

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

ERRORS, SCORES, TERMS = 4, 8, 8  # plots at most
RUNS = 24  # in one plot
POINTS = 120  # of one curve
# told apart by the colour-blind as well (Okabe and Ito); further runs have other strokes
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
STROKES = ("-", "--", ":", "-.")

Line = tuple[np.ndarray, np.ndarray]  # steps and values


@dataclass(frozen=True)
class Plot:
    picture: Image.Image
    caption: str
    alt: str


def plots(entries: Sequence[Entry]) -> Iterator[Plot]:
    """Held-out errors and scores, then loss terms; those that most runs have, in the order of their logs."""
    names = [short(each.name, 32) for each in entries[:RUNS]]
    more = f", the first {RUNS} of {len(entries)} runs" if len(entries) > RUNS else ""
    groups = (
        ("error", ERRORS, "Held-out error"),
        ("scores", SCORES, "Held-out score"),
        ("terms", TERMS, "Loss term"),
    )
    for group, most, words in groups:
        logs = [lines_of(each.folder / "events.jsonl", group) for each in entries[:RUNS]]
        times = Counter(name for log in logs for name in log)
        ranked = [name for name, _ in times.most_common()]
        shown, left = ranked[:most], short(", ".join(ranked[most:]), 200)
        for name in shown:
            lines = {at: log[name] for at, log in enumerate(logs) if name in log}
            ends = ", ".join(f"{names[at]} ends at {values[-1]:.3g}" for at, (_, values) in lines.items())
            title = f"{words} {short(name)} by step{more}"
            rest = f" Not drawn: {left}." if left and name == shown[-1] else ""
            yield Plot(drawn(short(name), lines, names), f"{title}.{rest}", f"{title}: {ends}.")


def lines_of(log: Path, group: str) -> dict[str, Line]:
    """By name; of a long log each point is the mean of its neighbours. What is no finite number is passed over."""
    events = [event for event in read_events(log) if isinstance(event.get(group), dict)]
    found = {}
    for name, (steps, values) in series(events, group).items():
        kept = [
            (step, float(value))
            for step, value in zip(steps, values, strict=True)
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        ]
        if kept:
            parts = np.array_split(np.array(kept), min(POINTS, len(kept)))
            means = np.array([part.mean(0) for part in parts])
            found[name] = (means[:, 0], means[:, 1])
    return found


def drawn(label: str, lines: Mapping[int, Line], names: Sequence[str]) -> Image.Image:
    """One plot of 1,200 pixels, to be shown at half its size, with a line for each run by its number in `names`.

    A run looks the same in each of them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = math.ceil(len(lines) / 3)
    drawing = Figure(figsize=(6, 3.2 + 0.18 * rows), layout="constrained", dpi=200)
    axes = drawing.add_subplot()
    handles = []
    for at, (steps, values) in lines.items():
        handles += axes.plot(
            steps,
            values,
            linewidth=1.4,
            marker="." if len(steps) < 30 else None,
            color=COLOURS[at % len(COLOURS)],
            linestyle=STROKES[at // len(COLOURS) % len(STROKES)],
        )
    every = np.concatenate([values for _, values in lines.values()])
    axes.set(yscale="log" if every.min() > 0 and every.max() > 30 * every.min() else "linear")
    axes.set_xlabel("step", fontsize=9)
    axes.set_ylabel(label, fontsize=9, parse_math=False)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    legend = drawing.legend(
        handles, list(map(str, range(len(handles)))), loc="outside lower center", fontsize=8, ncols=3, frameon=False
    )
    for text, at in zip(legend.get_texts(), lines, strict=True):  # set late: as labels, some texts are commands
        text.set_parse_math(False)
        text.set_text(names[at])
    canvas = FigureCanvasAgg(drawing)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # of writing that the font does not have
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(64)
