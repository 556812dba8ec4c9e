"""The demo: pix2pix learns to set DejaVu Sans in DejaVu Serif Bold Italic, and is judged on letters it never saw."""

import time
from pathlib import Path

import torch
from PIL import Image

from diptych import launch, recipe
from diptych.contract import Batch
from diptych.data import open_data
from diptych.data.loader import held_out
from diptych.data.transforms import Augment
from diptych.engine.preview import doing_nothing, grid, translated
from diptych.errors import ConfigError
from diptych.files import whole
from diptych.loading import from_run
from diptych.report import write_report

ROWS, GROUPS = 8, 3  # of the sheet of letters
CAPTION = "Letters of the test split, in groups of three: DejaVu Sans, the translation, DejaVu Serif Bold Italic."


def run_demo(folder: Path, steps: int | None) -> float:
    """Train in `folder`, print the held-out error beside that of doing nothing, leave a report. Returns the error."""
    chosen = recipe.named("glyphs", [f"steps={steps}"] if steps else [])
    began = time.monotonic()
    again = (folder / "config.yaml").exists()  # a demo that was stopped goes on; one that is done reports once more
    if again and steps:
        raise ConfigError(f"{folder} holds a demo, which goes on without --steps; or choose another folder by -o")
    trainer = launch.resume(folder) if again else launch.train(chosen, folder)
    took = "" if again else f" in {(time.monotonic() - began) / 60:.1f} minutes"
    if trainer.stopped is not None:
        raise SystemExit(128 + trainer.stopped)
    batch = unseen(chosen)
    translator = from_run(trainer.run)
    route = translator.method.routes[0]
    made = translated(translator.method, batch, route, torch.device("cpu"), 64)
    error, nothing = float((made - batch[route.target]).abs().mean()), doing_nothing(batch, route)
    lead = (
        f"After {trainer.engine.step} steps{took}, the error on {len(made)} letters it never saw is "
        f"{error:.4f} (mean absolute, range -1 to 1); doing nothing scores {nothing:.4f}."
    )
    columns = (batch[route.source], made, batch[route.target])
    sheet = grid([column[start::GROUPS][:ROWS] for start in range(GROUPS) for column in columns])
    sheet = sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST)
    with whole(folder / "letters.png") as part:
        sheet.save(part, "PNG", optimize=True)
    report = write_report(trainer.run, lead, {CAPTION: sheet})
    trainer.console.print(f"{lead}\nreport: {report}", highlight=False, soft_wrap=True)
    return error


def unseen(chosen: recipe.Recipe) -> Batch:
    """The whole test split."""
    data = open_data(chosen.data, chosen.cls.data, tuple(chosen.cls.batch))
    assert data.test is not None
    crop = chosen.data.crop
    channels = dict.fromkeys(chosen.cls.batch, 1)
    return held_out(data.test, channels, Augment(crop, crop), len(data.test))
