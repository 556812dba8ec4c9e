"""A study of letters from training to the report, with SIMULATED participants: their true rates are invented.

python benchmarks/study_letters.py [FOLDER] [--picture docs/results/study-letters.png]

Trains pix2pix on letters four times (about 2.5 minutes on two cores), evaluates the runs, makes the study, simulates
participants, analyses them, and compares votes and metrics. Each command is printed; trainings that are in FOLDER are
kept. The pictures need Debian's Chromium and playwright.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw

SMALL = ["ngf=16", "batch_size=16", "preview_every=1000"]
RUNS = {
    "l1": ["loss=l1", "steps=400"],
    "cgan": ["loss=cgan", "ndf=16", "steps=250"],
    "both": ["loss=l1+cgan", "ndf=16", "steps=250"],
    "short": ["loss=l1+cgan", "ndf=16", "steps=60"],
}
TRUTH = {"l1": 0.08, "cgan": 0.2, "both": 0.35, "short": 0.04}  # invented rates fooled
DESIGN = ["--preset", "pix2pix-2017", "-s", "attention_checks=6", "-s", "raters=25"]
TITLE = "title=Letters of four trainings (simulated participants)"
LETTERS, SCALE, LEFT = 12, 2, 60  # of the picture


def diptych(folder, *words):
    """Run a command in a folder, and print it."""
    print("diptych", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", "diptych", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def picture(folder, file):
    """Write the first letters: source, each method, and the real image."""
    size, columns = 32 * SCALE, [("source", "l1"), *(("fake", name) for name in RUNS), ("truth", "l1")]
    sheet = Image.new("RGB", (LEFT + LETTERS * size, len(columns) * size), "white")
    for row, (column, name) in enumerate(columns):
        ImageDraw.Draw(sheet).text((4, row * size + 24), name if column == "fake" else column, fill="black")
        files = sorted((folder / "samples" / name / column).rglob("*.png"))[:LETTERS]
        for place, path in enumerate(files):
            sheet.paste(Image.open(path).convert("RGB").resize((size, size)), (LEFT + place * size, row * size))
    sheet.quantize(32).save(file, optimize=True)


def screenshot(page, file):
    """Write a page as Chromium shows it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 820, "height": 600})
        view.goto(page.absolute().as_uri())
        view.screenshot(path=file, full_page=True)
        browser.close()
    Image.open(file).convert("RGB").quantize(64).save(file, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("study-letters"))
    parser.add_argument("--picture", type=Path, help="PNG of letters; the report is written beside it")
    options = parser.parse_args()
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, settings in RUNS.items():
        if not (folder / "runs" / name / "report.html").is_file():
            diptych(folder, "train", "glyphs", "-o", f"runs/{name}", *SMALL, *settings)
        if not (folder / "samples" / name / "samples.json").is_file():
            diptych(folder, "predict", f"runs/{name}", "-o", f"samples/{name}")
            diptych(folder, "evaluate", f"runs/{name}", "--extractor", "none")
    shutil.rmtree(folder / "study", ignore_errors=True)
    runs = [f"runs/{name}" for name in RUNS]
    truths = [word for name, rate in TRUTH.items() for word in ("--truth", f"{name}={rate}")]
    diptych(folder, "study", "new", *[f"samples/{name}" for name in RUNS], "-o", "study", *DESIGN, "-s", TITLE)
    diptych(folder, "study", "simulate", "study", *truths, "--raters", "100", "--clickers", "8")
    metrics = [word for run in runs for word in ("--metrics", run)]
    diptych(folder, "study", "analyze", "study", "--simulated", *metrics)
    diptych(folder, "compare", *runs, "--study", "study", "-o", "compared")
    if options.picture:
        picture(folder, options.picture)
        report = options.picture.with_name(f"{options.picture.stem}-report.png")
        screenshot(folder / "study" / "report" / "report.html", report)


if __name__ == "__main__":
    main()
