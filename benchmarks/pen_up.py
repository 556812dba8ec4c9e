"""How long a person waits for the picture after a stroke on the page of `diptych serve`, in a real Chromium.

python benchmarks/pen_up.py [--strokes 60]

Strokes of a brush are drawn on a label map while the page translates. The time is from the event of the pen that is
lifted to the first frame after the browser has decoded the last picture. Server, worker and browser share the cores.
Networks are untrained: pix2pix with half of the channels of its paper, exported, at 64 and 256 pixels. Writes
benchmarks/pen_up.md.
"""

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import torch
from playwright.sync_api import sync_playwright
from table import leave

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from house_models import save_maps
from model_server import served_models
from playground_page import box, opened
from translators import made

from diptych.data.image_format import ImageFormat, TrainingImages

SIDES = (64, 256)
POINTS = 12  # of a stroke
INTERVAL_MS = 16  # between two points, as of a mouse
POLL_MS = 150
COLUMNS = "model | strokes | median, ms | 95th percentile, ms | longest, ms | load of the machine"
LISTEN = """() => {
  window.pen = { up: 0, shown: 0 };
  document.querySelector("canvas").addEventListener("pointerup", (event) => { pen.up = event.timeStamp; });
  const image = document.querySelector(".result .after");
  const note = () => { pen.shown = performance.now(); };
  image.addEventListener("load", () => image.decode().then(() => requestAnimationFrame(note)));
}"""
STATE = "() => ({ ...pen, isBusy: document.querySelector('.output').hasAttribute('aria-busy') })"


def export(folder: Path, side: int) -> Path:
    """Return the ONNX file of an untrained network that knows the size of its training images."""
    torch.manual_seed(0)
    translator = made("pix2pix", generator=f"unet_{side}", ngf=32)
    formats = {name: ImageFormat(domain=name, height=side, width=side, dtype="uint8") for name in ("source", "target")}
    translator.images = TrainingImages(crop=side, load=side, fit="squash", entries=formats)
    path = folder / f"pix2pix-{side}.onnx"
    translator.export_onnx(path)
    return path


def waits(browser, address: str, model: str, strokes: int) -> list[float]:
    """Return the milliseconds from pen-up to picture of each stroke."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    opened(page, address, model)
    page.evaluate(LISTEN)
    points, times = random.Random(0), []
    for stroke in range(strokes + 3):
        labels = page.locator(".palette input")
        labels.nth(stroke % labels.count()).check()
        (x0, y0), (x1, y1) = ([points.uniform(0.1, 0.9) for _ in range(2)] for _ in range(2))
        page.mouse.move(*box(page, x0, y0))
        page.mouse.down()
        for step in range(1, POINTS + 1):
            page.mouse.move(*box(page, x0 + (x1 - x0) * step / POINTS, y0 + (y1 - y0) * step / POINTS))
            page.wait_for_timeout(INTERVAL_MS)
        page.mouse.up()
        if stroke >= 3:  # after the warm-up
            times.append(wait_of_last_picture(page))
        else:
            wait_of_last_picture(page)
    page.close()
    return times


def wait_of_last_picture(page) -> float:
    """Return the milliseconds from pen-up to the last picture, once no other follows."""
    before = None
    while True:
        page.wait_for_timeout(POLL_MS)
        state = page.evaluate(STATE)
        if state == before and not state["isBusy"] and state["shown"] > state["up"]:
            return state["shown"] - state["up"]
        before = state


def row(model: str, times: list[float], load: list[float]) -> list[str]:
    """Return the row of the table of one model."""
    numbers = (statistics.median(times), statistics.quantiles(times, n=20, method="inclusive")[-1], max(times))
    return [model, str(len(times)), *(f"{number:.0f}" for number in numbers), f"{load[0]:.1f} to {load[1]:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strokes", type=int, default=60, help="of each model")
    strokes = parser.parse_args().strokes
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    rows = []
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        folder = Path(place)
        models = [export(folder, side) for side in SIDES]
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with served_models(*models, "--examples", save_maps(folder / "maps")) as (address, _):
            for side, model in zip(SIDES, models, strict=True):
                before = os.getloadavg()[0]
                times = waits(browser, address, model.stem, strokes)
                load = sorted((before, os.getloadavg()[0]))
                rows.append(row(f"pix2pix, ngf 32, {side} px", times, load))
                print(rows[-1], flush=True)
        version = browser.version
        browser.close()
    lead = (
        "Strokes of a brush on a label map, on the page of `diptych serve` in headless Chromium: from the pen that is "
        "lifted to the first frame with the last picture. Models are exported and untrained; server, worker and "
        "browser share the cores. Load is the number of running processes (average of a minute) before and after; the "
        "program itself is about one."
    )
    leave(__file__, "From pen-up to picture", lead, {COLUMNS: rows}, f", Chromium {version}")


if __name__ == "__main__":
    main()
