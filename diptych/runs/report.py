"""The report of a run: one HTML file with figures, curves and pictures, that opens without a server."""

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

ABREAST = 3  # panels of scores
Lines = dict[str, tuple[list[int], list[float]]]  # steps and values by name

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" lambda_content="width=device-width"><title>{title}</title>
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
    """`report.html` in the run folder: a lead sentence, pictures (else the last preview), curves, settings."""
    events = list(read_events(run.events))
    settings = run.settings()
    body = [f'<p class="lead">{html.escape(lead)}</p>'] if lead else []
    body += [figure(picture, caption) for caption, picture in (pictures or _last_preview(run, events)).items()]
    if events:
        body += ["<h2>How it went</h2>", figure(curves(events), "Held-out error and loss terms by step.", "plot")]
    if drawn := scores(events):
        body += [figure(drawn, "Scores of held-out images by step.", "plot")]
    chosen = {key: value for part in SECTIONS for key, value in (settings.get(part) or {}).items()}
    machine = run.environment()
    body += [collapsible("Settings", table(chosen)), collapsible("Machine", table(machine))]
    path = run.folder / "report.html"
    write_text(path, page(f"{settings['method']}: {run.folder.name}", body))
    return path


def page(title: str, body: Iterable[str]) -> str:
    return PAGE.format(title=html.escape(title), body="\n".join(body))


def collapsible(title: str, content: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{content}</details>"


def table(rows: Mapping[str, Any]) -> str:
    cells = "".join(
        f"<tr><td>{html.escape(str(key))}</td><td>{html.escape(str(value))}</td></tr>" for key, value in rows.items()
    )
    return f"<table>{cells}</table>"


def figure(picture: Image.Image, caption: str, kind: str = "pixels") -> str:
    """The picture inside the page itself, as PNG."""
    data = io.BytesIO()
    picture.save(data, "PNG", optimize=True)
    source = base64.b64encode(data.getvalue()).decode()
    text = html.escape(caption)
    return (
        f'<figure><img class="{kind}" width="{picture.width}" alt="{text}" src="data:image/png;base64,{source}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def curves(events: Iterable[Event]) -> Image.Image:
    """Held-out error (where there is one) and every loss term, over the steps of all stages."""
    errors, terms = series(events, "error"), series(events, "terms")
    return _drawn([(name, lines) for name, lines in (("held-out error", errors), ("terms", terms)) if lines], 1)


def scores(events: Iterable[Event]) -> Image.Image | None:
    """Each score of held-out images in a panel of its own, as no two have the same range; None if there are none."""
    found = series(events, "scores")
    return _drawn([("", {name: line}) for name, line in found.items()], ABREAST) if found else None


def _drawn(panels: Sequence[tuple[str, Lines]], abreast: int) -> Image.Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = math.ceil(len(panels) / abreast)
    drawing = Figure(figsize=(10, 3.2 * max(1, rows)), layout="constrained", dpi=100)
    for place, (name, lines) in enumerate(panels, 1):
        axes = drawing.add_subplot(rows, abreast, place)
        for label, (steps, values) in lines.items():
            axes.plot(steps, values, label=label, linewidth=1.2, marker="." if len(steps) < 30 else None)
        axes.set(xlabel="step", ylabel=name, yscale="log" if name == "terms" and _positive(lines) else "linear")
        axes.grid(alpha=0.3)
        for text in axes.legend(fontsize=8, ncols=4, frameon=False).get_texts():
            text.set_parse_math(False)
    canvas = FigureCanvasAgg(drawing)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def series(events: Iterable[Event], group: str) -> Lines:
    lines: Lines = {}
    for event in events:
        for name, value in event.get(group, {}).items():
            if not name.endswith("/gradient"):
                steps, values = lines.setdefault(name, ([], []))
                steps.append(event["step"])
                values.append(value)
    return lines


def _positive(lines: Lines) -> bool:
    return all(value > 0 for _, values in lines.values() for value in values)


def _last_preview(run: Run, events: list[Event]) -> dict[str, Image.Image]:
    for event in reversed(events):
        path = run.previews / str(event.get("file"))
        if event["event"] == "preview" and path.is_file():
            caption = (
                f"Held-out images after step {event['step']}: source, translation, and the truth where it is known."
            )
            with Image.open(path) as picture:
                return {caption: picture.convert("RGB")}
    return {}
