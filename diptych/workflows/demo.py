"""The demo: pix2pix learns to set DejaVu Sans in DejaVu Serif Bold Italic, and is judged on letters it never saw."""

import time
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console

from diptych.contract import Batch
from diptych.data.batches import Batches, held_out
from diptych.data.images.transforms import Augment
from diptych.data.open import open_data
from diptych.errors import ConfigError
from diptych.inference.load import from_run
from diptych.runs.preview import grid, identity_error, translated
from diptych.runs.report import write_report
from diptych.settings import recipe
from diptych.system.atomic_files import atomic_write
from diptych.system.distributed import Ranks, choose_device
from diptych.system.hardware import tune_kernels
from diptych.training.engine import Engine
from diptych.workflows import train

SECONDS = 120.0  # for training
RESERVE = 0.9  # the share of them that steps may fill, going by the first ones: previews and a busier machine need some
FEWEST_STEPS = 400  # the error is then 0.0519, after 300 steps 0.0548; the bar is 0.0545: docs/results/letters.md
WARM_UP, TIMED = 3, 3.0  # steps that are not timed, and seconds of those that are
ROWS, GROUPS = 8, 3  # of the sheet of letters
CAPTION = "Letters of the test split, in groups of three: DejaVu Sans, the translation, DejaVu Serif Bold Italic."


def run_demo(folder: Path, steps: int | None) -> float:
    """Train in `folder`, print the held-out error beside that of doing nothing, leave a report. Returns the error.

    Without `steps`, as many of the recipe's as two minutes allow; schedules follow from their number, so a few steps
    of other networks are timed first.
    """
    again = (folder / "config.yaml").exists()  # a demo that was stopped goes on; one that is done reports once more
    if again and steps:
        raise ConfigError(f"{folder} holds a demo, which goes on without --steps; or choose another folder by -o")
    chosen = recipe.load_recipe("glyphs", [f"steps={steps}"] if steps else [])
    if not again and not steps:
        each = seconds_per_step(chosen)
        steps = affordable(each, chosen.model.steps)
        Console(markup=False).print(expected(each, steps, chosen.model.steps), highlight=False, soft_wrap=True)
        chosen = recipe.load_recipe("glyphs", [f"steps={steps}"])
    began = time.monotonic()
    trainer = train.resume(folder) if again else train.train(chosen, folder)
    took = "" if again else f" in {(time.monotonic() - began) / 60:.1f} minutes"
    if trainer.stopped is not None:
        raise SystemExit(128 + trainer.stopped)
    batch = unseen(chosen)
    translator = from_run(trainer.run)
    route = translator.method.routes[0]
    made = translated(translator.method, batch, route, torch.device("cpu"), 64)
    error, nothing = float((made - batch[route.target]).abs().mean()), identity_error(batch, route)
    lead = (
        f"After {trainer.engine.step} steps{took}, the error on {len(made)} letters it never saw is "
        f"{error:.4f} (mean absolute, range -1 to 1); doing nothing scores {nothing:.4f}."
    )
    columns = (batch[route.source], made, batch[route.target])
    sheet = grid([column[start::GROUPS][:ROWS] for start in range(GROUPS) for column in columns])
    sheet = sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST)
    with atomic_write(folder / "letters.png") as part:
        sheet.save(part, "PNG", optimize=True)
    report = write_report(trainer.run, lead, {CAPTION: sheet})
    trainer.console.print(f"{lead}\nreport: {report}", highlight=False, soft_wrap=True)
    return error


def affordable(each: float, full: int) -> int:
    """The number of steps, of `full`, that fit into two minutes at `each` seconds a step, but not below `FEWEST_STEPS`.

    All of them where they fit, else whole hundreds, so that one machine chooses the same number from run to run.
    """
    fitting = int(RESERVE * SECONDS / each)
    return full if fitting >= full else min(full, max(FEWEST_STEPS, fitting // 100 * 100))


def expected(each: float, steps: int, full: int) -> str:
    """What a person should know before training starts: how many steps, how long, and why not more or fewer."""
    seconds = steps * each
    says = f"{1 / each:.1f} steps/s on this machine: {steps} steps, about {seconds / 60:.1f} minutes of training"
    if steps < full:
        says += f" instead of {full * each / 60:.1f} for the recipe's {full} steps, for which give --steps {full}"
    if seconds > SECONDS:
        says += f". That is more than {SECONDS / 60:.0f} minutes, but fewer steps give poor letters"
    return f"{says}."


def seconds_per_step(chosen: recipe.Recipe) -> float:
    """The mean time of steps of this recipe, its batches included, after a few to warm up. Nothing of them is kept."""
    data = open_data(chosen.data, chosen.cls.data, tuple(chosen.cls.batch))
    ranks = Ranks(device=choose_device(chosen.train.device))
    chosen = chosen.with_data_defaults(data).with_auto_resolved(ranks)
    tune_kernels(ranks.device)
    method, crop = chosen.cls(chosen.model), chosen.data.crop_size
    batches = Batches(data.train, method.channels(), Augment(crop, crop), chosen.train.batch_size)
    engine = Engine(method, precision=chosen.train.precision, ranks=ranks)
    for step in range(WARM_UP):
        engine.train_step(batches[step])
    engine.verify()
    began, timed = time.perf_counter(), 0
    while not timed or time.perf_counter() - began < TIMED:
        engine.train_step(batches[WARM_UP + timed])
        engine.verify()
        timed += 1
    return (time.perf_counter() - began) / timed


def unseen(chosen: recipe.Recipe) -> Batch:
    """The whole test split."""
    data = open_data(chosen.data, chosen.cls.data, tuple(chosen.cls.batch))
    assert data.test is not None
    crop = chosen.data.crop_size
    channels = dict.fromkeys(chosen.cls.batch, 1)
    return held_out(data.test, channels, Augment(crop, crop), len(data.test))
