"""Train a recipe and resume a run: what `diptych train` and `diptych resume` do, for programs.

`train` and `resume` show the whole flow: data, model, run folder, loop. `prepare` builds what the loop needs.
"""

import shlex
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from rich.console import Console

from diptych.contract import Clock, FeatureNetwork, Method
from diptych.data.batches import Batches
from diptych.data.checks.manifest import Manifest, compare_manifests
from diptych.data.checks.unreadable import check_images, drop_small_images
from diptych.data.dataset import Data
from diptych.data.image_format import describe_images, direction_notes, direction_of
from diptych.data.image_tensors import held_out_batch
from diptych.data.images.transforms import Augment, augment_of
from diptych.data.value_encoding import encodings_of, notes_on_encodings
from diptych.errors import ConfigError, DataError, RunError, printable
from diptych.evaluation.feature_networks import feature_networks_of
from diptych.inference.load import from_run
from diptych.runs import checkpoint
from diptych.runs.folder import Run
from diptych.runs.preview import Preview
from diptych.runs.report import write_report
from diptych.runs.split_file import check_split, write_split
from diptych.settings.recipe import Recipe, from_settings
from diptych.settings.validate import checked as checked_settings
from diptych.system.distributed import Ranks, join
from diptych.system.hardware import is_out_of_memory, tune_kernels
from diptych.system.terminal import progress_bar
from diptych.training.callbacks import Callback
from diptych.training.cuda_graphs import CudaCapture
from diptych.training.engine import Engine
from diptych.training.reproducibility import Provenance, check_unchanged, provenance_of, saved_provenance
from diptych.training.trainer import Trainer
from diptych.workflows.dry_run import dry_run
from diptych.workflows.settings_check import check_settings, check_steps_left
from diptych.workflows.validation import validator
from diptych.workflows.warm_start import initialise_from

# Settings that define the held-out error of a checkpoint: if one changes, the best checkpoint is chosen anew.
DEFINE_ERROR = {"protocol", "monitor", "evaluator", "extractor", "eval_images", "eval_controls"}


def train(
    recipe: Recipe, folder: Path | str, console: Console | None = None, callbacks: Sequence[Callback] = ()
) -> Trainer:
    """Train a recipe in a new run folder.

    Returns the trainer, whose `stopped` is the number of the signal that ended training early, or None.
    Raises ConfigError and DataError for wrong settings and data, before the folder is created.
    """
    ranks = join(recipe.train.device, recipe.train.rank_timeout_minutes)
    console = console or _console_of(ranks)
    run = Run(folder)
    if ranks.is_main:
        run.check_new()

    # data
    data, manifest = load_data(recipe, ranks, console)
    recipe, data = _resolve(recipe.with_absolute_paths(), data, ranks, console)

    # model
    feature_networks, digests = feature_networks_of(recipe.cls, recipe.model, ranks.device)
    provenance = provenance_of(recipe, manifest, ranks.world_size) | digests
    trainer = prepare(recipe, data, run, ranks, console, feature_networks, provenance, callbacks, initialise=True)

    # run folder
    if ranks.is_main:
        run.create()
    with _lock(run, ranks):
        trainer.save()  # so that the run can be resumed from its first step on
        if ranks.is_main:
            run.save_image_formats(describe_images(data, recipe.data))
            write_split(run.split, data, recipe.data.root)
            run.save_settings(recipe.settings(), manifest)  # from here on the folder is a run

        # loop
        return _train_and_report(trainer, recipe)


def resume(
    folder: Path | str,
    settings: Sequence[str] = (),
    allow: Collection[str] = (),
    console: Console | None = None,
    method: type[Method] | None = None,
    callbacks: Sequence[Callback] = (),
    attach: Callable[[Recipe], Recipe] = lambda recipe: recipe,
) -> Trainer:
    """Continue a run from its newest intact checkpoint, bit for bit as if training had never stopped.

    Args:
        settings: changed settings as on the command line, `key=value`.
        allow: fields of the provenance that may differ from the checkpoint; ConfigError lists all others that do.
        method: the class of a method that is not part of Diptych.
        callbacks: user code that the training calls.
        attach: adds to the recipe what no file holds, such as a dataset given from Python.

    Returns the trainer, as `train` does.
    """
    run = Run.open(folder)
    recipe = attach(from_settings(run.settings(), settings, str(run.config), method, saved=True))
    recipe = recipe.with_absolute_paths([setting.partition("=")[0] for setting in settings])
    ranks = join(recipe.train.device, recipe.train.rank_timeout_minutes)
    console = console or _console_of(ranks)
    with _lock(run, ranks):
        # data
        data, manifest = load_data(recipe, ranks, console)
        recipe, data = _resolve(recipe, data, ranks, console)

        # resume: compare with the checkpoint
        path, state = checkpoint.find_newest(run.checkpoints)
        check_steps_left(recipe, state[1], run.folder)
        feature_networks, digests = feature_networks_of(recipe.cls, recipe.model, ranks.device)
        now = provenance_of(recipe, manifest, ranks.world_size) | digests
        before = saved_provenance(state[1].get("made", now), recipe, now)
        command = shlex.join(["diptych", "resume", str(run.folder), *settings])
        changed = check_unchanged(before, now, allow, command, partial(_image_changes, run, manifest))
        if not changed.keys() & {"split", "group_by"}:
            check_split(run.split, data, recipe.data.root)

        # model
        trainer = prepare(recipe, data, run, ranks, console, feature_networks, now, callbacks)
        validation_is_new = changed.get("eval_every", (1, 1))[0] is None
        trainer.restore(path, state, keep_best=not (changed.keys() & DEFINE_ERROR or validation_is_new))
        for line in _lr_changes(recipe, trainer.engine, before, changed):
            console.print(line, highlight=False, soft_wrap=True)

        # run folder
        if ranks.is_main:
            run.save_image_formats(describe_images(data, recipe.data))
            write_split(run.split, data, recipe.data.root)
            if changed or settings:
                run.save_settings(recipe.settings(), manifest)
        trainer.save_changes(changed)

        # loop
        return _train_and_report(trainer, recipe)


# Data


def load_data(recipe: Recipe, ranks: Ranks, console: Console) -> tuple[Data, Manifest]:
    """Open the data of a recipe, check each image file that was not checked before, and print a summary. DataError."""
    data = recipe.open_data()
    check_settings(recipe, data, ranks.world_size)
    if not ranks.is_main:
        ranks.wait_for_main()  # rank 0 stores its results where the other ranks find them
    with progress_bar(console, "checking images") as progress:
        data, manifest = check_images(data, recipe.data, progress)
    data = drop_small_images(data, recipe.data)
    if ranks.is_main:
        ranks.wait_for_main()
    notes = (*direction_notes(data, recipe.data), *data.notes)
    summary = "\n".join((data.summary + direction_of(data, recipe.data), *notes)).splitlines()
    console.print(*map(printable, summary), sep="\n", highlight=False, soft_wrap=True)
    return data, manifest


def _resolve(recipe: Recipe, data: Data, ranks: Ranks, console: Console) -> tuple[Recipe, Data]:
    """Return the recipe with all defaults that depend on data and machine, and the data encoded as it says."""
    recipe = recipe.with_data_defaults(data).with_auto_resolved(ranks)
    data = recipe.encode_data(data)
    for note in notes_on_encodings(data.train):
        console.print(printable(note), highlight=False, soft_wrap=True)
    return recipe, data


# Model


def prepare(
    recipe: Recipe,
    data: Data,
    run: Run,
    ranks: Ranks,
    console: Console,
    feature_networks: Mapping[str, FeatureNetwork] = MappingProxyType({}),
    provenance: Mapping[str, Any] = MappingProxyType({}),
    callbacks: Sequence[Callback] = (),
    initialise: bool = False,
) -> Trainer:
    """Build a trainer: method, batches, preview, validation and engine.

    With `initialise` the weights come from `init_from=`, if given; else a checkpoint is expected to be restored.
    Raises CheckpointError, ConfigError, DataError.
    """
    dry_run(recipe, feature_networks, ranks.world_size)
    torch.manual_seed(recipe.train.seed)
    method = recipe.cls(recipe.model)
    method.perceptual.update(feature_networks)
    if ranks.is_main and (caution := method.caution()):
        warnings.warn(f"{recipe.method}: {caution}", stacklevel=2)
    chosen = recipe.train.init_networks
    if initialise and (message := initialise_from(method, recipe.train.init_from, chosen)):
        console.print(printable(message), highlight=False, soft_wrap=True)
    augment = augment_of(recipe.data)
    batches = _batches(recipe, method, data, augment, ranks)
    preview = _preview(recipe, method, data, augment)
    tune_kernels(ranks.device)
    validate = validator(recipe, method, data, ranks.device)
    engine = _engine(recipe, method, ranks)
    return Trainer(
        engine,
        batches,
        run,
        recipe.train,
        preview,
        console,
        evaluation=recipe.evaluate,
        validate=validate,
        provenance=provenance,
        callbacks=callbacks,
    )


def _batches(recipe: Recipe, method: Method, data: Data, augment: Augment, ranks: Ranks) -> Batches:
    """Return the training batches of this rank."""
    return Batches(
        data.train,
        method.channels(),
        augment,
        recipe.train.batch_size,
        recipe.train.seed,
        grad_accum_steps=recipe.train.grad_accum_steps,
        rank=ranks.rank,
        world=ranks.world_size,
        extra_splits=tuple(other.train for other in data.others),
        balance_classes=method.traits.balance_classes,
        random_crop_until=recipe.data.random_crop_until,
        on_bad_image=recipe.data.on_bad_image,
        transform=recipe.transform,
    ).with_cache(recipe.train.image_cache_bytes, max(1, recipe.train.loaders))


def _preview(recipe: Recipe, method: Method, data: Data, augment: Augment) -> Preview:
    """Return the preview of held-out images."""
    names = data.labels[0].names if data.labels and data.labels[0].kind == "class" else ()
    images = held_out_batch(data.held_out, method.channels(), augment, recipe.train.preview_images, names)
    return Preview(
        method.derive_inputs(images), data.held_out.aligned, encodings_of(data.held_out), recipe.data.pair_task
    )


def _engine(recipe: Recipe, method: Method, ranks: Ranks) -> Engine:
    """Return the engine with the method on this rank's device. ConfigError if it does not fit into memory."""
    capture = CudaCapture() if recipe.train.uses_cuda_graphs(ranks) else None
    try:
        engine = Engine(method, recipe.train, ranks=ranks, capture=capture)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ConfigError(
            f"the networks do not fit into the memory of {ranks.device}: choose a smaller network (ngf=)"
        ) from error
    if recipe.train.compile is True:
        engine.compile()
    return engine


# Resume


def _lock(run: Run, ranks: Ranks) -> AbstractContextManager[None]:
    """Return the lock of the run folder on rank 0; nothing on other ranks."""
    return run.locked() if ranks.is_main else nullcontext()


def _image_changes(run: Run, manifest: Manifest, field: str) -> str:
    """Return which images changed, if `field` is `images` and the run has a manifest; else an empty string."""
    if field == "images":
        with suppress(DataError):
            return str(compare_manifests(Manifest.load(run.manifest), manifest))
    return ""


def _lr_changes(recipe: Recipe, engine: Engine, before: Provenance, changed: Collection[str]) -> Iterator[str]:
    """Yield a line for each player whose learning rate jumps by more than 1 % because settings changed."""
    fields = type(recipe.model).model_fields
    old_settings = {key: before[key] for key in changed if key in fields and before.get(key) is not None}
    if not old_settings:
        return
    with torch.device("meta"):
        old_config = checked_settings(type(recipe.model), {**recipe.model.model_dump(), **old_settings}, "model")
        old_stages = recipe.cls(old_config).stages()
    old_stage, stage = old_stages[min(engine.stage_index, len(old_stages) - 1)], engine.stage
    last_step = max(0, min(engine.step, old_stage.steps) - 1)
    for name, player in stage.players.items():
        if name not in old_stage.players:
            continue
        old_player = old_stage.players[name]
        old_lr = old_player.lr * old_player.schedule(Clock(old_stage.name, last_step, old_stage.steps))
        lr = player.lr * player.schedule(Clock(stage.name, engine.step, stage.steps))
        if abs(lr - old_lr) > 0.01 * max(old_lr, lr):
            yield f"the learning rate of {name} changes from {old_lr:.3g} to {lr:.3g} at step {engine.step}"


# Loop


def _train_and_report(trainer: Trainer, recipe: Recipe) -> Trainer:
    """Train to the end, then write the model folder and the report."""
    engine = trainer.engine
    trainer.console.print(
        f"{recipe.method} on {engine.device} in {engine.precision}, {engine.ranks.world_size} process(es), "
        f"{_remaining(engine)}; run folder: {trainer.run.folder}",
        highlight=False,
        soft_wrap=True,
    )
    trainer.train()
    if trainer.is_main:
        _write_outputs(trainer.run, recipe.cls)
    return trainer


def _remaining(engine: Engine) -> str:
    """Return where training continues: `stage train from step 0 of 1000`."""
    stage_is_done = engine.step >= engine.stage.steps
    stages = [stage for stage in engine.stages[engine.stage_index + stage_is_done :] if stage.steps]
    if not stages:
        return "nothing left to train"
    return f"stage {stages[0].name} from step {0 if stage_is_done else engine.step} of {stages[0].steps}"


def _write_outputs(run: Run, cls: type[Method]) -> None:
    """Write the model folder and the report of a run. RunError."""
    try:
        from_run(run, method=cls).save(run.model)
        write_report(run)
    except OSError as error:
        raise RunError(
            f"{run.folder}: the checkpoint is complete, but model/ or report.html cannot be written ({error}); make "
            f"room on the disk, then `diptych resume {run.folder}` writes them"
        ) from error


def _console_of(ranks: Ranks) -> Console:
    """Return a console that prints on rank 0 and is silent on others."""
    return Console(quiet=not ranks.is_main, markup=False)
