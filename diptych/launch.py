"""From a recipe to a finished run: what `diptych train`, `resume` and `demo` do, for programs."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from diptych.contract import Clock, Method
from diptych.data import open_data
from diptych.data.layouts import Data
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
    """Train a recipe in a new run folder; returns the trainer, whose `stopped` is the signal that ended it, or None.

    Whatever is wrong with settings or data is raised before the folder is made.
    """
    ranks = join(recipe.train.device)
    data = open_data(recipe.data, tuple(recipe.cls.batch))
    recipe = recipe.fitted(data)
    trainer = prepare(recipe, data, Run(folder), ranks, console)
    if ranks.first:
        Run.create(folder, recipe.settings())
    return _go(trainer, recipe.method, recipe.cls, anew=True)


def resume(folder: Path | str, console: Console | None = None) -> Trainer:
    """Go on from the newest whole checkpoint, bit for bit as if the training had never stopped."""
    run = Run.open(folder)
    recipe = from_settings(run.settings(), where=str(run.config))
    ranks = join(recipe.train.device)
    trainer = prepare(recipe, open_data(recipe.data, tuple(recipe.cls.batch)), run, ranks, console)
    return _go(trainer, recipe.method, recipe.cls, anew=False)


def prepare(recipe: Recipe, data: Data, run: Run, ranks: Ranks, console: Console | None = None) -> Trainer:
    """Everything that trains, built but not started. Raises ConfigError, DataError."""
    rehearse(recipe)
    console = console or Console(quiet=not ranks.first, markup=False)
    console.print(data.summary, *data.notes, sep="\n", highlight=False, soft_wrap=True)
    torch.manual_seed(recipe.train.seed)
    method, settings = recipe.cls(recipe.model), recipe.train
    channels = method.channels()
    augment = Augment(recipe.data.loaded, recipe.data.crop, recipe.data.fit, recipe.data.flip)
    batches = Batches(data.train, channels, augment, settings.batch, settings.seed)
    batches = replace(batches, micro=settings.micro, rank=ranks.rank, world=ranks.world)
    preview = Preview(held_out(data.held_out, channels, augment, settings.previews), data.held_out.aligned)
    engine = Engine(method, seed=settings.seed, micro=settings.micro, precision=settings.precision, ranks=ranks)
    return Trainer(engine, batches, run, settings, preview, console)


def rehearse(recipe: Recipe) -> None:
    """One step of each stage on tensors without content: what does not fit is found in a moment, with nothing made.

    Raises ConfigError.
    """
    crop, size = recipe.data.crop, max(1, recipe.train.batch // recipe.train.micro)
    with torch.device("meta"):
        method = recipe.cls(recipe.model)
        batch = {name: torch.empty(size, channels, crop, crop) for name, channels in method.channels().items()}
        if crop % method.multiple:
            raise ConfigError(
                f"crop={crop} is not a multiple of {method.multiple}, which the network needs: "
                f"change crop, or choose a smaller generator"
            )
        try:
            for stage in method.stages():
                for players, terms in stage.updates(batch, Clock(stage.name, 0, stage.steps)):
                    if not terms:
                        raise ConfigError(f"nothing would teach {players}: every weight of its terms is 0")
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"with crop={crop} the networks do not fit each other or the images: {error}") from error


def _go(trainer: Trainer, name: str, cls: type[Method], anew: bool) -> Trainer:
    """Train to the end; the first rank alone holds the folder and leaves model and report in it."""
    with trainer.run.locked() if trainer.first else nullcontext():
        if anew:
            trainer.save()  # so that a run can be resumed from its first step on
        else:
            trainer.restore()
        engine = trainer.engine
        trainer.console.print(
            f"{name} on {engine.ranks.device}, {engine.ranks.world} process(es), stage {engine.stage.name} from step "
            f"{engine.step} of {engine.stage.steps}; everything is kept in {trainer.run.folder}",
            highlight=False,
            soft_wrap=True,
        )
        trainer.train()
        if trainer.first:
            from_run(trainer.run, method=cls).save(trainer.run.model)
            write_report(trainer.run)
    return trainer
