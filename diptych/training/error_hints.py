"""What an error of a training step is extended by: names of images, and the command that avoids the error."""

import shlex
from pathlib import Path

from diptych.contract import Batch
from diptych.data.batches import Batches
from diptych.errors import LoadingError, TrainingError
from diptych.training.engine import Engine


def with_image_names(error: TrainingError, batches: Batches) -> TrainingError:
    """Return the error with the names of the images of its step, where the step is known."""
    if error.step is None:
        return error
    names = ", ".join(batches.image_names(error.step))
    return TrainingError(f"{error}\nImages of that step: {names}", error.step)


def with_resume_command(error: LoadingError, batches: Batches, step: int, workers: int, run: Path) -> LoadingError:
    """Return the error with the images of the batch and the command that resumes with fewer data workers."""
    settings = [f"workers={workers // 2}"] if workers else []
    command = shlex.join(["diptych", "resume", str(run), *settings])
    return LoadingError(f"step {step}: {with_image_names(error, batches)}\nWhen this is fixed, resume with: {command}")


def suggest_accumulation(engine: Engine, batch: Batch, run: Path) -> str:
    """Return a sentence that names a `grad_accum_steps` with which the batch fits into memory, found by trying.

    The engine takes steps while trying: its state must not be saved afterwards.
    """
    size, world_size = len(next(iter(batch.values()))), engine.ranks.world_size
    for count in range(engine.grad_accum_steps + 1, size + 1):
        if size % count == 0 and (world_size > 1 or engine.fits(batch, count)):
            setting, verb = f"grad_accum_steps={count}", "fits" if world_size == 1 else "may fit"
            command = shlex.join(["diptych", "resume", str(run), setting, "--allow", "grad_accum_steps"])
            return f"{setting} {verb}: {command}"
    lower = "" if engine.precision == "bf16" else ", or precision=bf16"
    return f"No grad_accum_steps= fits: start a new run with a smaller crop_size= or a smaller network (ngf=){lower}"
