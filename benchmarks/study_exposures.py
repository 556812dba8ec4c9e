"""How many exposures of a study's page last what the design says, in a real Chromium.

python benchmarks/study_exposures.py [--trials 40]

The page runs from consent to completion code, with a key pressed as soon as a question appears. An exposure counts as
right if the time between the frames that showed and hid the image is within one frame of the design. These are the
times that the page measures and sends: when the browser made the frames, not when a screen lit them. Run it on a
machine without other load. Writes benchmarks/study_exposures.md.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from table import leave

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from study_folders import served, study

EXPOSURES_MS = (1000, 250, 100)
COLUMNS = "design | exposures | within one frame | largest error | frames dropped | refresh rate | load of the machine"


def answers_of(browser, folder, exposure, trials):
    """Return the answers of one participant who saw 256 pixel images for `exposure` ms each."""
    made = study(folder, practice=0, trials=trials, count=trials, size=256, exposure_ms=exposure)
    with served(made.path) as (address, _):
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        for title in ("Before you start", "Your screen", "Instructions"):
            page.click(f".panel:has-text('{title}') button", timeout=120_000)
        for number in range(trials):
            page.wait_for_selector(f".progress:text-is('Question {number + 1} of {trials}') ~ .answers button")
            page.keyboard.press("f")
        page.wait_for_selector("#code")
        page.close()
    store = made.store()
    answers = store.answers()
    store.close()
    return answers


def row(exposure, answers, load):
    """Return the row of the table of one design."""
    found = [
        (each, 1000 / answer.measured["refresh_hz"]) for answer in answers for each in answer.measured["exposures"]
    ]
    errors = [abs(measured - exposure) for (_, measured, _), _ in found]
    right = sum(error <= 1.01 * frame for error, (_, frame) in zip(errors, found, strict=True))
    return [
        f"{exposure} ms",
        str(len(found)),
        f"{right} ({right / len(found):.1%})",
        f"{max(errors):.1f} ms",
        str(sum(int(dropped) for (_, _, dropped), _ in found)),
        f"{1000 / found[0][1]:.1f} Hz",
        f"{load[0]:.1f} to {load[1]:.1f}",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40, help="trials of two exposures each, for each design")
    trials = parser.parse_args().trials
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for exposure in EXPOSURES_MS:
            before = os.getloadavg()[0]
            with tempfile.TemporaryDirectory() as folder:
                answers = answers_of(browser, Path(folder), exposure, trials)
            rows.append(row(exposure, answers, sorted((before, os.getloadavg()[0]))))
            print(rows[-1], flush=True)
        version = browser.version
        browser.close()
    lead = (
        "The page of a study in headless Chromium, from consent to completion code: times between the frames that "
        "showed and hid an image, as the page measures them. They are times of the browser, not of a screen. Load is "
        "the number of running processes (average of a minute) before and after; the browser and the server need less "
        "than one."
    )
    leave(__file__, "Exposures of a study's page", lead, {COLUMNS: rows}, f", Chromium {version}")


if __name__ == "__main__":
    main()
