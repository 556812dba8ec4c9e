"""The report of a run: one HTML file with images, curves and settings, that opens without a server."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

from diptych.runs.events import read_events
from diptych.runs.folder import Run
from diptych.runs.plots import Curve, draw_plot, read_curves
from diptych.settings.recipe import SECTIONS
from diptych.system.atomic_files import write_text
from diptych.system.pages import EmbeddedImage, data_uri, render


def write_report(run: Run, lead: str = "", pictures: Mapping[str, Image.Image] | None = None) -> Path:
    """Write `report.html` into the run folder and return its path.

    It holds the lead sentence, the pictures by caption (default: the last preview), plots, settings and machine.
    """
    settings = run.settings()
    page = render(
        "report.html",
        title=f"{settings['method']}: {run.folder.name}",
        lead=lead,
        images=[
            EmbeddedImage(data_uri(image, optimize=True), caption, image.width)
            for caption, image in (pictures or _last_preview(run)).items()
        ],
        plots=list(plots(run)),
        settings={key: value for section in SECTIONS for key, value in (settings.get(section) or {}).items()},
        machine=run.environment(),
    )
    path = run.folder / "report.html"
    write_text(path, page)
    return path


def plots(run: Run) -> Iterator[EmbeddedImage]:
    """Yield a plot of held-out errors, one of all loss terms, and one for each score, as their ranges differ."""
    for group, label, caption in (("error", "held-out error", "Held-out error"), ("terms", "loss term", "Loss terms")):
        if curves := read_curves(run.events, group):
            yield _plot(label, curves, f"{caption} by step.")
    for name, curve in read_curves(run.events, "scores").items():
        yield _plot("held-out score", {name: curve}, f"Score {name} of held-out images by step.")


def _plot(label: str, curves: Mapping[str, Curve], caption: str) -> EmbeddedImage:
    image = draw_plot(label, dict(enumerate(curves.values())), list(curves))
    return EmbeddedImage(data_uri(image, optimize=True), caption, image.width // 2, "plot")


def _last_preview(run: Run) -> dict[str, Image.Image]:
    """Return the last preview by its caption; {} if there is none."""
    for event in reversed(list(read_events(run.events))):
        path = run.previews / str(event.get("file"))
        if event["event"] == "preview" and path.is_file():
            caption = f"Held-out images after step {event['step']}: source, translation, and target image if known."
            with Image.open(path) as picture:
                return {caption: picture.convert("RGB")}
    return {}
