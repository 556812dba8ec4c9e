"""From a recipe to a finished run: what `diptych train`, `resume` and `demo` do, for programs."""

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType

import torch
from rich.console import Console

from diptych.contract import Clock, FeatureNetwork, Method
from diptych.data.batches import Batches, held_out
from diptych.data.checks.manifest import Manifest, changes
from diptych.data.checks.unreadable import check_images, large_enough
from diptych.data.dataset import Data
from diptych.data.image_format import describe, direction_of, notes_on
from diptych.data.images.transforms import Augment
from diptych.data.open import open_data
from diptych.data.value_encoding import encodings_of, notes_on_encodings
from diptych.errors import ConfigError, DataError, RunError, printable
from diptych.evaluation.feature_networks import feature_networks_of
from diptych.inference.load import from_run
from diptych.runs import checkpoint
from diptych.runs.folder import Run
from diptych.runs.preview import Preview
from diptych.runs.report import write_report
from diptych.settings import renamed
from diptych.settings.recipe import Recipe, from_settings
from diptych.settings.validate import checked as checked_settings
from diptych.system.distributed import Ranks, join
from diptych.system.hardware import is_out_of_memory, tune_kernels
from diptych.system.terminal import progress_bar
from diptych.training.cuda_graphs import CudaCapture
from diptych.training.engine import Engine
from diptych.training.reproducibility import Provenance, check_unchanged, defaults, provenance_of
from diptych.training.trainer import Trainer
from diptych.workflows.validation import validator
from diptych.workflows.warm_start import dry_run, initialise_from

MEASURED = {"protocol", "monitor", "evaluator", "extractor", "eval_images"}  # what the value of a checkpoint depends on


def train(recipe: Recipe, folder: Path | str, console: Console | None = None) -> Trainer:
    """Train a recipe in a new run folder; returns the trainer, whose `stopped` is the signal that ended it, or None.

    Whatever is wrong with settings or data is raised before the folder is made.
    """
    ranks, run = join(recipe.train.device, recipe.train.rank_timeout_minutes), Run(folder)
    console = console or _console(ranks)
    if ranks.first:
        run.check_new()
    data, manifest = look_at(recipe, ranks, console)
    recipe, data = _encoded(recipe.with_absolute_paths(), data, ranks, console)
    sights, digests = feature_networks_of(recipe.cls, recipe.model, ranks.device)
    trainer = prepare(recipe, data, run, ranks, console, sights, fresh=True)
    trainer.provenance = provenance_of(recipe, manifest, ranks.world) | digests
    if ranks.first:
        run.create()
    with _held(run, ranks):
        trainer.save()  # so that a run can be resumed from its first step on
        if ranks.first:
            run.keep_formats(describe(data, recipe.data))
            run.keep(recipe.settings(), manifest)  # only now is it a run
        return _go(trainer, recipe)


def resume(
    folder: Path | str,
    settings: Sequence[str] = (),
    allow: Collection[str] = (),
    console: Console | None = None,
    method: type[Method] | None = None,
) -> Trainer:
    """Go on from the newest whole checkpoint, bit for bit as if the training had never stopped.

    `settings` are as on the command line, `key=value`. What results follow from may differ from what the checkpoint
    was made with only where it is named in `allow`; ConfigError lists what else differs. `method` is the class of one
    that is not part of Diptych.
    """
    run = Run.open(folder)
    recipe = from_settings(run.settings(), settings, str(run.config), method, saved=True)
    recipe = recipe.with_absolute_paths([each.partition("=")[0] for each in settings])
    ranks = join(recipe.train.device, recipe.train.rank_timeout_minutes)
    console = console or _console(ranks)
    with _held(run, ranks):
        data, manifest = look_at(recipe, ranks, console)
        recipe, data = _encoded(recipe, data, ranks, console)
        path, state = checkpoint.find_newest(run.checkpoints)
        sights, digests = feature_networks_of(recipe.cls, recipe.model, ranks.device)
        now = provenance_of(recipe, manifest, ranks.world) | digests
        before = {**defaults(recipe, now), **renamed.flat(state[1].get("made", now))}
        command = shlex.join(["diptych", "resume", str(run.folder), *settings])
        different = check_unchanged(before, now, allow, command, partial(_hint, run, manifest))
        trainer = prepare(recipe, data, run, ranks, console, sights)
        trainer.provenance = now
        trainer.restore(path, state)
        for line in _jumps(recipe, trainer.engine, before, different):
            console.print(line, highlight=False, soft_wrap=True)
        if different.keys() & MEASURED or different.get("eval_every", (1, 1))[0] is None:
            trainer.checkpoint_manager.best = None  # it was the best by another measure
        if ranks.first:
            run.keep_formats(describe(data, recipe.data))
        if ranks.first and (different or settings):
            run.keep(recipe.settings(), manifest)
        if ranks.first and different:
            trainer.save_again()
            trainer.log.write("resume", trainer.engine.stage.name, trainer.engine.total, changed=different)
        return _go(trainer, recipe)


def _held(run: Run, ranks: Ranks) -> AbstractContextManager[None]:
    """The first rank alone holds the folder."""
    return run.locked() if ranks.first else nullcontext()


def _hint(run: Run, manifest: Manifest, field: str) -> str:
    """Which images changed, as far as that is known."""
    if field == "images":
        with suppress(DataError):
            return str(changes(Manifest.load(run.manifest), manifest))
    return ""


def _jumps(recipe: Recipe, engine: Engine, before: Provenance, different: Collection[str]) -> Iterator[str]:
    """Which learning rates the changed settings make other than they were at the last step, as lines for a person."""
    old = {
        key: before[key] for key in different if key in type(recipe.model).model_fields and before.get(key) is not None
    }
    with torch.device("meta"):
        stages = recipe.cls(
            checked_settings(type(recipe.model), {**recipe.model.model_dump(), **old}, "model")
        ).stages()
    was = stages[min(engine.place, len(stages) - 1)]
    step = max(0, min(engine.step, was.steps) - 1)  # the last one taken
    for name, player in engine.stage.players.items():
        if name in was.players and old:
            last = was.players[name]
            rates = [
                last.lr * last.schedule(Clock(was.name, step, was.steps)),
                player.lr * player.schedule(Clock(engine.stage.name, engine.step, engine.stage.steps)),
            ]
            if abs(rates[1] - rates[0]) > 0.01 * max(rates):
                yield f"the learning rate of {name} goes from {rates[0]:.3g} to {rates[1]:.3g} at step {engine.step}"


def look_at(recipe: Recipe, ranks: Ranks, console: Console) -> tuple[Data, Manifest]:
    """The data of a recipe, each file of it examined; what was examined before is known. Raises DataError."""
    data = open_data(recipe.data, recipe.cls.data, tuple(recipe.cls.batch))
    if not ranks.first:
        ranks.after_first()  # which leaves what it finds where the others read it
    with progress_bar(console, "looking at the images") as progress:
        data, manifest = check_images(data, recipe.data, progress)
    data = large_enough(data, recipe.data)
    if ranks.first:
        ranks.after_first()
    notes = (*notes_on(data, recipe.data), *data.notes)
    said = "\n".join((data.summary + direction_of(data, recipe.data), *notes)).splitlines()
    console.print(*map(printable, said), sep="\n", highlight=False, soft_wrap=True)
    return data, manifest


def _encoded(recipe: Recipe, data: Data, ranks: Ranks, console: Console) -> tuple[Recipe, Data]:
    """The recipe with what data and machine tell, and the data as it says. Raises ConfigError, DataError."""
    recipe = recipe.with_data_defaults(data).with_auto_resolved(ranks)
    data = recipe.encode_data(data)
    for note in notes_on_encodings(data.train):
        console.print(printable(note), highlight=False, soft_wrap=True)
    return recipe, data


def prepare(
    recipe: Recipe,
    data: Data,
    run: Run,
    ranks: Ranks,
    console: Console,
    sights: Mapping[str, FeatureNetwork] = MappingProxyType({}),
    fresh: bool = False,
) -> Trainer:
    """Everything that trains, built but not started, with the networks that losses look through.

    A `fresh` one has the weights that it begins with; else they are still to come, from a checkpoint.
    Raises CheckpointError, ConfigError, DataError.
    """
    dry_run(recipe, sights, ranks.world)
    torch.manual_seed(recipe.train.seed)
    method, settings = recipe.cls(recipe.model), recipe.train
    method.perceptual.update(sights)
    if fresh and (said := initialise_from(method, settings.init_from)):
        console.print(printable(said), highlight=False, soft_wrap=True)
    channels = method.channels()
    augment = Augment(
        recipe.data.loaded, recipe.data.crop_size, recipe.data.resize_mode, recipe.data.flip, recipe.data.crop_mode
    )
    batches = Batches(
        data.train,
        channels,
        augment,
        settings.batch_size,
        settings.seed,
        grad_accum_steps=settings.grad_accum_steps,
        rank=ranks.rank,
        world=ranks.world,
        also=tuple(each.train for each in data.others),
        balance_classes=method.traits.balance_classes,
        load_until=recipe.data.random_crop_until,
        bad=recipe.data.on_bad_image,
    )
    names = data.labels[0].names if data.labels and data.labels[0].kind == "class" else ()
    shown = method.derive_inputs(held_out(data.held_out, channels, augment, settings.preview_images, names))
    preview = Preview(shown, data.held_out.aligned, encodings_of(data.held_out))
    tune_kernels(ranks.device)
    examine = validator(recipe, method, data, ranks.device)
    capture = CudaCapture() if settings.uses_cuda_graphs(ranks) else None
    try:
        engine = Engine(
            method,
            seed=settings.seed,
            grad_accum_steps=settings.grad_accum_steps,
            precision=settings.precision,
            ranks=ranks,
            capture=capture,
        )
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ConfigError(
            f"the networks do not fit into the memory of {ranks.device}: choose a smaller width="
        ) from error
    if settings.compile is True:
        engine.compile()
    every, stop_after = recipe.evaluate.eval_every or 0, recipe.evaluate.patience_evals
    return Trainer(
        engine, batches, run, settings, preview, console, validate=examine, every=every, stop_after=stop_after
    )


def _go(trainer: Trainer, recipe: Recipe) -> Trainer:
    """Train to the end, and leave model and report."""
    engine = trainer.engine
    begun = engine.step < engine.stage.steps
    ahead = [stage for stage in engine.stages[engine.place + (not begun) :] if stage.steps]
    step = engine.step if begun else 0
    left = f"stage {ahead[0].name} from step {step} of {ahead[0].steps}" if ahead else "nothing left to train"
    trainer.console.print(
        f"{recipe.method} on {engine.device} in {engine.precision}, {engine.ranks.world} process(es), {left}; "
        f"everything is kept in {trainer.run.folder}",
        highlight=False,
        soft_wrap=True,
    )
    trainer.train()
    if trainer.first:
        _leave(trainer.run, recipe.cls)
    return trainer


def _leave(run: Run, cls: type[Method]) -> None:
    """What a stopped training leaves for people: the model to ship and the report."""
    try:
        from_run(run, method=cls).save(run.model)
        write_report(run)
    except OSError as error:
        raise RunError(
            f"{run.folder}: the checkpoint is whole, but model/ or report.html cannot be written ({error}); make room, "
            f"then `diptych resume {run.folder}` writes them"
        ) from error


def _console(ranks: Ranks) -> Console:
    """A person's console on the first rank; silence on the others."""
    return Console(quiet=not ranks.first, markup=False)
