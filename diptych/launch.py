"""From a recipe to a finished run: what `diptych train`, `resume` and `demo` do, for programs."""

from pathlib import Path

import torch
from rich.console import Console
from torch import distributed

from diptych.data import Data, open_data
from diptych.data.loader import Batches, held_out
from diptych.data.transforms import Augment
from diptych.engine.preview import Preview
from diptych.engine.ranks import Ranks, join
from diptych.engine.run import Run
from diptych.engine.step import Engine
from diptych.engine.trainer import Trainer
from diptych.errors import ConfigError
from diptych.recipe import Recipe, from_settings
from diptych.report import write_report
from diptych.translator import from_run


def train(recipe: Recipe, folder: Path | str, console: Console | None = None) -> Trainer:
    """Train a recipe in a new run folder; returns the trainer, whose `stopped` is the signal that ended it, or None."""
    ranks = join(recipe.train.device)
    data = open_data(recipe.data, tuple(recipe.cls.batch))
    recipe = recipe.fitted(data)
    run = Run.create(folder, recipe.settings()) if ranks.first else Run(folder)
    if ranks.world > 1:
        distributed.barrier()
    return _go(recipe, data, run, ranks, console, anew=True)


def resume(folder: Path | str, console: Console | None = None) -> Trainer:
    """Go on from the newest whole checkpoint, bit for bit as if the training had never stopped."""
    run = Run.open(folder)
    recipe = from_settings(run.settings(), where=str(run.config))
    ranks = join(recipe.train.device)
    return _go(recipe, open_data(recipe.data, tuple(recipe.cls.batch)), run, ranks, console, anew=False)


def prepare(recipe: Recipe, data: Data, run: Run, ranks: Ranks, console: Console) -> Trainer:
    """Everything that trains, built but not started."""
    torch.manual_seed(recipe.train.seed)
    method = recipe.cls(recipe.model)
    if recipe.data.crop % method.multiple:
        raise ConfigError(
            f"crop={recipe.data.crop} is not a multiple of {method.multiple}, which the network needs: "
            f"change crop, or choose a smaller generator"
        )
    settings, channels = recipe.train, method.channels()
    augment = Augment(recipe.data.loaded, recipe.data.crop, recipe.data.fit, recipe.data.flip)
    engine = Engine(method, seed=settings.seed, micro=settings.micro, precision=settings.precision, ranks=ranks)
    batches = Batches(
        data.train,
        channels,
        augment,
        settings.batch,
        settings.seed,
        micro=settings.micro,
        rank=ranks.rank,
        world=ranks.world,
    )
    preview = Preview(held_out(data.held_out, channels, augment, settings.previews), data.held_out.aligned)
    return Trainer(engine, batches, run, settings, preview, console)


def _go(recipe: Recipe, data: Data, run: Run, ranks: Ranks, console: Console | None, anew: bool) -> Trainer:
    console = console or Console(quiet=not ranks.first)
    console.print(data.summary, *data.notes, sep="\n", highlight=False, soft_wrap=True)
    trainer = prepare(recipe, data, run, ranks, console)
    if not ranks.first:
        if not anew:
            trainer.restore()
        trainer.train()
        return trainer
    with run.locked():
        if not anew:
            trainer.restore()
        console.print(
            f"{recipe.method} on {ranks.device}, {ranks.world} process(es), from step {trainer.engine.step} "
            f"of stage {trainer.engine.stage.name}; everything is kept in {run.folder}",
            highlight=False,
            soft_wrap=True,
        )
        trainer.train()
        from_run(run).save(run.model)
        write_report(run)
    return trainer
