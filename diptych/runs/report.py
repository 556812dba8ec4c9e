"""The report of a run: one HTML file with images, curves and settings, that opens without a server."""

import base64
import html
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diptych.runs.events import Event, read_events
from diptych.runs.folder import Run
from diptych.settings.recipe import SECTIONS
from diptych.system.atomic_files import write_text

PANELS_PER_ROW = 3  # of scores
Series = dict[str, tuple[list[int], list[float]]]  # steps and values by name

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
h1 {{ font-weight: 600 }} h2 {{ margin-top: 2.5rem; font-weight: 600 }}
img {{ max-width: 100%; height: auto; image-rendering: pixelated }} img.plot {{ image-rendering: auto }}
table {{ border-collapse: collapse }} td, th {{ text-align: left; padding: .2rem 1.5rem .2rem 0; vertical-align: top }}
td {{ border-top: 1px solid #ddd; font-variant-numeric: tabular-nums; overflow-wrap: anywhere }}
details {{ margin-top: 1.5rem }} summary {{ font-weight: 600; cursor: pointer }}
figure {{ margin: 1rem 0 }} figcaption {{ color: #555; font-size: .9rem }} .lead {{ font-size: 1.2rem }}
@media (prefers-color-scheme: dark) {{ body {{ background: #181818; color: #ddd }} td {{ border-color: #444 }} }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def write_report(run: Run, lead: str = "", pictures: Mapping[str, Image.Image] | None = None) -> Path:
    """Write `report.html` into the run folder and return its path.

    It holds the lead sentence, the pictures by caption (default: the last preview), curves, settings and machine.
    """
    events = list(read_events(run.events))
    settings = run.settings()
    body = [f'<p class="lead">{html.escape(lead)}</p>'] if lead else []
    body += [figure(picture, caption) for caption, picture in (pictures or _last_preview(run, events)).items()]
    if events:
        body += ["<h2>Training</h2>", figure(curves(events), "Held-out error and loss terms by step.", "plot")]
    if score_panels := scores(events):
        body += [figure(score_panels, "Scores of held-out images by step.", "plot")]
    flat = {key: value for section in SECTIONS for key, value in (settings.get(section) or {}).items()}
    body += [collapsible("Settings", table(flat)), collapsible("Machine", table(run.environment()))]
    path = run.folder / "report.html"
    write_text(path, page(f"{settings['method']}: {run.folder.name}", body))
    return path


def page(title: str, body: Iterable[str]) -> str:
    """Return an HTML page."""
    return PAGE.format(title=html.escape(title), body="\n".join(body))


def collapsible(title: str, content: str) -> str:
    """Return a section that opens with a click."""
    return f"<details><summary>{html.escape(title)}</summary>{content}</details>"


def table(rows: Mapping[str, Any]) -> str:
    """Return an HTML table of names and values."""
    cells = "".join(
        f"<tr><td>{html.escape(str(key))}</td><td>{html.escape(str(value))}</td></tr>" for key, value in rows.items()
    )
    return f"<table>{cells}</table>"


def figure(picture: Image.Image, caption: str, kind: str = "pixels") -> str:
    """Return an HTML figure with the picture embedded as PNG."""
    data = io.BytesIO()
    picture.save(data, "PNG", optimize=True)
    source = base64.b64encode(data.getvalue()).decode()
    text = html.escape(caption)
    return (
        f'<figure><img class="{kind}" width="{picture.width}" alt="{text}" src="data:image/png;base64,{source}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def curves(events: Iterable[Event]) -> Image.Image:
    """Return plots of the held-out errors (if there are any) and of all loss terms, over the steps of all stages."""
    panels = [("held-out error", series(events, "error")), ("terms", series(events, "terms"))]
    return _plot([(name, lines) for name, lines in panels if lines], 1)


def scores(events: Iterable[Event]) -> Image.Image | None:
    """Return plots of the scores of held-out images, a panel for each as ranges differ; None if there are none."""
    lines = series(events, "scores")
    return _plot([("", {name: line}) for name, line in lines.items()], PANELS_PER_ROW) if lines else None


def _plot(panels: Sequence[tuple[str, Series]], per_row: int) -> Image.Image:
    """Return an image of panels, each a label of the y axis and its lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = math.ceil(len(panels) / per_row)
    plot = Figure(figsize=(10, 3.2 * max(1, rows)), layout="constrained", dpi=100)
    for index, (name, lines) in enumerate(panels, 1):
        axes = plot.add_subplot(rows, per_row, index)
        for label, (steps, values) in lines.items():
            axes.plot(steps, values, label=label, linewidth=1.2, marker="." if len(steps) < 30 else None)
        axes.set(xlabel="step", ylabel=name, yscale="log" if name == "terms" and _positive(lines) else "linear")
        axes.grid(alpha=0.3)
        for text in axes.legend(fontsize=8, ncols=4, frameon=False).get_texts():
            text.set_parse_math(False)
    canvas = FigureCanvasAgg(plot)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def series(events: Iterable[Event], group: str) -> Series:
    """Return steps and values by name, of one group of the events such as `terms`; gradient norms are left out."""
    lines: Series = {}
    for event in events:
        for name, value in event.get(group, {}).items():
            if not name.endswith("/gradient"):
                steps, values = lines.setdefault(name, ([], []))
                steps.append(event["step"])
                values.append(value)
    return lines


def _positive(lines: Series) -> bool:
    return all(value > 0 for _, values in lines.values() for value in values)


def _last_preview(run: Run, events: list[Event]) -> dict[str, Image.Image]:
    """Return the last preview by its caption; {} if there is none."""
    for event in reversed(events):
        path = run.previews / str(event.get("file"))
        if event["event"] == "preview" and path.is_file():
            caption = f"Held-out images after step {event['step']}: source, translation, and target image if known."
            with Image.open(path) as picture:
                return {caption: picture.convert("RGB")}
    return {}
