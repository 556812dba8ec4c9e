"""Checks of a recipe's settings before any image is read: a mistake is found in seconds, however large the data set."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from diptych.data.dataset import Data
from diptych.errors import ConfigError
from diptych.evaluation.protocols import find_protocol
from diptych.settings.recipe import Recipe
from diptych.settings.validate import checked
from diptych.workflows.dry_run import dry_run


def check_settings(recipe: Recipe, data: Data, world_size: int = 1) -> None:
    """Raise ConfigError if the settings do not fit each other or the labels of `data`.

    `data` is opened and not scanned, so the networks have the default numbers of channels, and pretrained feature
    networks are assumed to fit. `prepare` repeats the dry run once both are known.
    """
    train = recipe.train
    if train.batch_size % (train.grad_accum_steps * world_size):
        raise ConfigError(
            f"batch_size={train.batch_size} is not a multiple of grad_accum_steps={train.grad_accum_steps} "
            f"x {world_size} ranks"
        )
    if recipe.evaluate.protocol is not None:
        find_protocol(recipe.evaluate.protocol)
    recipe.check_labels(data)
    labels = dict.fromkeys(recipe.cls.label_fields().values(), data.labels)
    model = checked(recipe.cls.Config, {**recipe.model.model_dump(), **labels}, "model")
    dry_run(replace(recipe, model=model), world_size=world_size)


def check_steps_left(recipe: Recipe, checkpoint: Mapping[str, Any], folder: Path) -> None:
    """Raise ConfigError if a checkpoint of the run is past the last step that the settings ask for.

    `recipe` has its number of steps, and `checkpoint` is the description in the newest checkpoint of `folder`.
    """
    with torch.device("meta"):
        stages = recipe.cls(recipe.model).stages()
    stage, step = stages[min(checkpoint["place"], len(stages) - 1)], checkpoint["step"]
    if checkpoint["place"] < len(stages) and step > stage.steps:
        setting = f"steps={stage.steps}" if len(stages) == 1 else f"{stage.steps} steps of stage {stage.name}"
        raise ConfigError(
            f"{setting}: {folder} is already at step {step}, past that step; ask for more than {step} steps, "
            f"or train a new run with fewer"
        )
