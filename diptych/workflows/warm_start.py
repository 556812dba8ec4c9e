"""What comes before the first step: a rehearsal without content, and weights that were trained before."""

import copy
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import torch

from diptych.contract import Batch, Clock, FeatureNetwork, Method, Stage
from diptych.errors import CheckpointError, ConfigError
from diptych.evaluation.feature_networks import NONE, AnyFeatures
from diptych.inference.load import mismatches, networks_of, with_prefix
from diptych.settings.recipe import Recipe
from diptych.settings.validate import check_network_size

TURNS = 40  # steps among which each kind of step occurs that a rehearsal takes


def initialise_from(method: Method, source: str | None) -> str:
    """Give a method the weights of the networks of a run or model that are called like its own and have their form.

    Returns a sentence about them; empty if there is no source. CheckpointError, ConfigError if none fits, or if there
    is a network to translate with that no step moves and that was not brought either.
    """
    taken, left = _taken_over(method, source) if source else ([], [])
    idle = [key for key, value in vars(method.config).items() if type(value) is int and not value]
    if lacking := [name for name in method.untrained_networks(method.stages()) if name not in taken]:
        raise ConfigError(
            f"no step moves {', '.join(lacking)}: name a run that has it, in this form, by init_from=, or set "
            f"{' or '.join(f'{key}=' for key in idle) or 'steps='} above 0"
        )
    if not source:
        return ""
    return f"begins with {', '.join(taken)} of {source}" + (f"; anew: {'; '.join(left)}" if left else "")


def _taken_over(method: Method, source: str) -> tuple[list[str], list[str]]:
    """The names of the networks that now have their weights, and of the others with what is wrong."""
    taken: list[str] = []
    left: list[str] = []
    try:
        there = networks_of(source)
    except CheckpointError as error:
        raise CheckpointError(f"init_from={error}") from error
    for name, net in method.named_children():
        own = with_prefix(there, f"{name}.") or with_prefix(there, f"{method.network_aliases.get(name, name)}.")
        wrong = mismatches(net.state_dict(), own) if own else ["is not there"]
        if wrong:
            left.append(f"{name} {wrong[0]}" if not own else f"{name}: {wrong[0]}")
        else:
            net.load_state_dict(own)
            taken.append(name)
    if not taken:
        raise ConfigError(
            f"init_from={source}: none of its networks has the form of one here ({'; '.join(left)}); "
            f"use the settings that it was made with"
        )
    return taken, left


def dry_run(recipe: Recipe, sights: Mapping[str, FeatureNetwork] = MappingProxyType({}), world: int = 1) -> None:
    """One step of each stage on tensors without content: what does not fit is found in a moment, with nothing made.

    A network that losses look through, and that is not at hand, is taken to fit.
    Raises ConfigError.
    """
    crop, size = recipe.data.crop_size, max(1, recipe.train.batch_size // (recipe.train.grad_accum_steps * world))
    with torch.device("meta"):
        method = recipe.cls(recipe.model)
        seen = [name for name, key in recipe.cls.feature_network_fields().items() if vars(recipe.model)[key] != NONE]
        method.perceptual.update({name: copy.deepcopy(sights.get(name, AnyFeatures())).to("meta") for name in seen})
        check_network_size(method, recipe.method)
        batch = {name: torch.empty(size, channels, crop, crop) for name, channels in method.channels().items()}
        if crop % method.traits.size_multiple:
            raise ConfigError(
                f"crop_size={crop} is not a multiple of {method.traits.size_multiple}, which the network needs: "
                f"change crop, or choose a smaller generator"
            )
        try:
            for stage in method.stages():
                for clock in _first_turns(stage):
                    for players, terms in stage.updates({**batch, **_labels(method, clock.step, size)}, clock):
                        if not terms:
                            raise ConfigError(f"nothing would teach {players}: every weight of its terms is 0")
        except (RuntimeError, ValueError) as error:
            if "more than 1 value per channel" in str(error):
                raise ConfigError(
                    f"batch_size={recipe.train.batch_size} is one image at a time, and BatchNorm needs two: "
                    f"set batch_size={2 * recipe.train.grad_accum_steps * world} at least"
                ) from error
            if "more than 1 spatial element" in str(error):
                raise ConfigError(
                    f"crop_size={crop} is shrunk to one pixel in front of a norm, which needs more: set crop higher, or "
                    f"have {recipe.method} look at less ({_smaller(recipe.cls)})"
                ) from error
            raise ConfigError(
                f"with crop_size={crop} the networks do not fit each other or the images: {error}"
            ) from error


def _smaller(cls: type[Method]) -> str:
    """The settings that say how often its networks halve an image."""
    return ", ".join(
        f"{name}="
        for name in ("generator", "receptive_field", "num_scales", "d_layers")
        if name in cls.Config.model_fields
    )


def _first_turns(stage: Stage) -> Iterator[Clock]:
    """The first step of each kind."""
    clocks = [Clock(stage.name, step, stage.steps) for step in range(min(stage.steps, TURNS))]
    yield from {stage.schedule_key(clock): clock for clock in reversed(clocks)}.values()


def _labels(method: Method, step: int, size: int) -> Batch:
    """Labels without content, of the shape in which the set comes whose turn a step is."""
    blank = {}
    for name, sets in method.labels().items():
        own = sets[step % len(sets)]
        blank[name] = torch.zeros((size,) if own.kind == "class" else (size, len(own)), dtype=torch.int64)
    return blank
