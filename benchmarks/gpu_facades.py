"""Part (d) of `gpu.py`: pix2pix on facades with the paper's settings, for a given time."""

import time
from collections.abc import Iterator
from pathlib import Path

import torch
from table import DATA

import diptych

COLUMNS = "data | steps | of | minutes | steps/s | held-out L1 error | sample grid"
TINY = {"crop_size": 32, "load_size": 36, "generator": "unet_32", "ngf": 4, "ndf": 4, "receptive_field": 16}


class Clocked(diptych.Callback):
    """Ends the training at a moment, and keeps the last sample grid and its error."""

    def __init__(self, end: float, picture: Path) -> None:
        self.end, self.picture = end, picture
        self.began, self.steps, self.stage_steps, self.error, self.seconds = 0.0, 0, 0, 0.0, 0.0

    def on_start(self, context) -> None:
        self.began, self.stage_steps = time.monotonic(), context.stage_steps

    def on_step(self, context) -> None:
        self.steps, self.seconds = context.step, time.monotonic() - self.began
        if time.monotonic() > self.end:
            context.stop()

    def on_preview(self, context) -> None:
        if context.errors:
            self.error = sum(context.errors.values()) / len(context.errors)
        context.preview.convert("RGB").save(self.picture, quality=85)

    def row(self, data: str) -> list[str]:
        """Return the result so far."""
        counts = [str(self.steps), str(self.stage_steps), f"{self.seconds / 60:.1f}"]
        return [data, *counts, f"{self.steps / max(self.seconds, 1e-9):.1f}", f"{self.error:.3f}", self.picture.name]


def train(
    device: torch.device, seconds: float, picture: Path, folder: Path, smoke: bool = False
) -> Iterator[list[str]]:
    """Train until `seconds` have passed and yield one row. Where there are no facades, the embedded letters are used.

    The sample grid is written to `picture`, anew after each preview.
    """
    has_facades = (DATA / "facades").is_dir() and not smoke
    settings = {"device": str(device), "preview_every": 1000, "log_every": 100}
    if smoke:
        settings |= {**TINY, "preview_every": 1, "preview_images": 1, "workers": 0}
        seconds = 0.0  # one step
    if not has_facades:
        settings |= {"direction": "a2b"}
    timer = Clocked(time.monotonic() + seconds, picture)
    data = DATA / "facades" if has_facades else "glyphs"
    diptych.train("facades", data=str(data), out=folder / "run", callbacks=timer, quiet=True, **settings)
    yield timer.row("facades" if has_facades else "letters, because facades were not found")
