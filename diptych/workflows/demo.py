"""The demo: pix2pix learns to translate DejaVu Sans to DejaVu Serif Bold Italic, and is evaluated on unseen letters."""

import time
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from diptych.contract import Batch
from diptych.data.batches import Batches
from diptych.data.image_tensors import held_out_batch
from diptych.data.images.transforms import Augment
from diptych.data.open import open_data
from diptych.errors import ConfigError
from diptych.inference.load import from_run
from diptych.runs.preview import identity_error, translate_route
from diptych.runs.report import write_report
from diptych.runs.sample_grid import grid
from diptych.settings.recipe import Recipe, load_recipe
from diptych.system.atomic_files import atomic_write
from diptych.system.distributed import Ranks, choose_device
from diptych.system.hardware import tune_kernels
from diptych.training.engine import Engine
from diptych.workflows import train

TRAINING_SECONDS = 120.0
STEP_SHARE = 0.9  # of these seconds for steps, by the measured speed; the rest for previews and a slower machine
FEWEST_STEPS = 400  # error 0.0519, after 300 steps 0.0548; the limit is 0.0545: docs/results/letters.md
WARMUP_STEPS, TIMED_SECONDS = 3, 3.0  # to measure the speed: steps that are not timed, and the time for those that are
ROWS, GROUPS = 8, 3  # of the grid of letters
CAPTION = "Letters of the test split, in groups of three: DejaVu Sans, the translation, DejaVu Serif Bold Italic."


def run_demo(folder: Path, steps: int | None) -> float:
    """Train in `folder`, print the test error and that of the identity baseline, write a report; return the error.

    Without `steps`, the number of steps is what two minutes allow on this machine, which is measured first, because
    schedules depend on the number. In the folder of a former demo, training continues.
    """
    is_resumed = (folder / "config.yaml").exists()
    if is_resumed and steps:
        raise ConfigError(
            f"{folder} holds a demo already: leave --steps out to continue it, or choose another folder by -o"
        )
    recipe = load_recipe("glyphs", [f"steps={steps}"] if steps else [])
    if not is_resumed and not steps:
        recipe = _fit_to_machine(recipe)
    start = time.monotonic()
    trainer = train.resume(folder) if is_resumed else train.train(recipe, folder)
    duration = "" if is_resumed else f" in {(time.monotonic() - start) / 60:.1f} minutes"
    if trainer.stopped is not None:
        raise SystemExit(128 + trainer.stopped)

    # evaluation on the test split
    batch = load_test_batch(recipe)
    method = from_run(trainer.run).method
    route = method.routes[0]
    translation = translate_route(method, batch, route, torch.device("cpu"), 64)
    error, baseline = float((translation - batch[route.target]).abs().mean()), identity_error(batch, route)
    lead = (
        f"After {trainer.engine.step} steps{duration}, the error on {len(translation)} unseen letters is "
        f"{error:.4f} (mean absolute error, range -1 to 1); the identity baseline scores {baseline:.4f}."
    )

    # report
    image = _grid_of_letters(batch[route.source], translation, batch[route.target])
    with atomic_write(folder / "letters.png") as part:
        image.save(part, "PNG", optimize=True)
    report = write_report(trainer.run, lead, {CAPTION: image})
    trainer.console.print(f"{lead}\nreport: {report}", highlight=False, soft_wrap=True)
    return error


def _fit_to_machine(recipe: Recipe) -> Recipe:
    """Return the recipe with the number of steps that two minutes allow on this machine, and print the estimate."""
    seconds = seconds_per_step(recipe)
    steps = affordable_steps(seconds, recipe.model.steps)
    estimate = describe_estimate(seconds, steps, recipe.model.steps)
    Console(markup=False).print(estimate, highlight=False, soft_wrap=True)
    return load_recipe("glyphs", [f"steps={steps}"])


def affordable_steps(seconds: float, full: int) -> int:
    """Return the number of steps, `full` at most and `FEWEST_STEPS` at least, that fit into two minutes.

    `seconds` is the time of a step. Below `full` the number is a multiple of 100, so that it is the same in each demo
    on one machine.
    """
    steps = int(STEP_SHARE * TRAINING_SECONDS / seconds)
    return full if steps >= full else min(full, max(FEWEST_STEPS, steps // 100 * 100))


def describe_estimate(seconds: float, steps: int, full: int) -> str:
    """Return a sentence with the number of steps, the expected time, and the reason for a lower number."""
    total = steps * seconds
    text = f"{1 / seconds:.1f} steps/s on this machine: {steps} steps, about {total / 60:.1f} minutes of training"
    if steps < full:
        text += f" instead of {full * seconds / 60:.1f} for the recipe's {full} steps; for these use --steps {full}"
    if total > TRAINING_SECONDS:
        text += f". That is more than {TRAINING_SECONDS / 60:.0f} minutes, but fewer steps give poor letters"
    return f"{text}."


def seconds_per_step(recipe: Recipe) -> float:
    """Return the mean time of a training step of this recipe, with loading; the trained networks are discarded."""
    data = open_data(recipe.data, recipe.cls.data, tuple(recipe.cls.batch))
    ranks = Ranks(device=choose_device(recipe.train.device))
    recipe = recipe.with_data_defaults(data).with_auto_resolved(ranks)
    tune_kernels(ranks.device)
    method, crop_size = recipe.cls(recipe.model), recipe.data.crop_size
    batches = Batches(data.train, method.channels(), Augment(crop_size, crop_size), recipe.train.batch_size)
    engine = Engine(method, recipe.train, ranks=ranks)
    for step in range(WARMUP_STEPS):
        engine.train_step(batches[step])
    engine.verify()
    start, timed_steps = time.perf_counter(), 0
    while not timed_steps or time.perf_counter() - start < TIMED_SECONDS:
        engine.train_step(batches[WARMUP_STEPS + timed_steps])
        engine.verify()
        timed_steps += 1
    return (time.perf_counter() - start) / timed_steps


def load_test_batch(recipe: Recipe) -> Batch:
    """Return the whole test split as one batch."""
    data = open_data(recipe.data, recipe.cls.data, tuple(recipe.cls.batch))
    assert data.test is not None
    crop_size = recipe.data.crop_size
    channels = dict.fromkeys(recipe.cls.batch, 1)
    return held_out_batch(data.test, channels, Augment(crop_size, crop_size), len(data.test))


def _grid_of_letters(*columns: Tensor) -> Image.Image:
    """Return an enlarged grid of ROWS x GROUPS letters, each with its source, translation and target side by side."""
    image = grid([column[start::GROUPS][:ROWS].numpy() for start in range(GROUPS) for column in columns])
    return image.resize((2 * image.width, 2 * image.height), Image.Resampling.NEAREST)
