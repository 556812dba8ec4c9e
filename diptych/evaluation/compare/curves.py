"""Training curves: a plot for each held-out error, score and loss term, with a line for each run."""

from collections import Counter
from collections.abc import Iterator, Sequence

from diptych.evaluation.compare.grids import encoded
from diptych.evaluation.compare.read import Entry, short
from diptych.runs.plots import draw_plot, read_curves
from diptych.system.pages import EmbeddedImage

MAX_ERRORS, MAX_SCORES, MAX_TERMS = 4, 8, 8  # plots
MAX_RUNS = 24  # in a plot
MAX_PLOT = 60_000  # characters of a plot


def plots(entries: Sequence[Entry]) -> Iterator[tuple[EmbeddedImage, str]]:
    """Yield plots and captions of held-out errors, scores and loss terms; those that most runs have come first."""
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
            image = draw_plot(short(name), curves, names)
            plot = EmbeddedImage(encoded(image, MAX_PLOT), f"{title}: {ends}.", image.width // 2, "plot")
            yield plot, f"{title}.{note}"
