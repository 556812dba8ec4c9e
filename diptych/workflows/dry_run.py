"""Dry run: one step of each stage on meta tensors, which finds networks that do not fit before training starts."""

import copy
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from diptych.contract import Batch, Clock, FeatureNetwork, Method, Stage
from diptych.errors import ConfigError
from diptych.evaluation.feature_networks import NONE, AnyFeatures
from diptych.networks import user_code
from diptych.settings.recipe import Recipe
from diptych.settings.validate import check_network_size

SEARCHED_STEPS = 40  # first steps of a stage in which one step of each schedule key is searched


def dry_run(
    recipe: Recipe, feature_networks: Mapping[str, FeatureNetwork] = MappingProxyType({}), world_size: int = 1
) -> None:
    """Run one step of each kind on meta tensors, which takes no memory. ConfigError if the settings do not fit.

    A feature network that is not given is assumed to fit.
    """
    crop_size = recipe.data.crop_size
    size = max(1, recipe.train.batch_size // (recipe.train.grad_accum_steps * world_size))
    with torch.device("meta"):
        method = recipe.cls(recipe.model)
        method.perceptual.update(_meta_feature_networks(recipe, feature_networks))
        check_network_size(method, recipe.method)
        if crop_size % method.traits.size_multiple:
            own = user_code.named_in(vars(recipe.model))
            raise ConfigError(
                f"crop_size={crop_size} is not a multiple of {method.traits.size_multiple}, "
                + (
                    f"the size_multiple of {own}: change crop_size"
                    if own
                    else "which the network needs: change crop_size, or choose a smaller generator"
                )
            )
        channels = method.channels()
        images = {name: torch.empty(size, count, crop_size, crop_size) for name, count in channels.items()}
        running: list[str] = []  # the own network that is being called
        _watch_own_networks(method, running)
        try:
            _run_stages(method, images, size)
        except ConfigError:
            raise
        except Exception as error:
            if running and "more than 1 value per channel" not in str(error):
                what = f"{type(error).__name__}: {error}"
                raise ConfigError(f"{running[-1]} fails on {crop_size}x{crop_size} images ({what})") from error
            if not isinstance(error, RuntimeError | ValueError):
                raise
            raise ConfigError(_explain(error, recipe, world_size)) from error


def _meta_feature_networks(recipe: Recipe, given: Mapping[str, FeatureNetwork]) -> dict[str, FeatureNetwork]:
    """Return a copy on the meta device of each feature network that the settings ask for."""
    config = vars(recipe.model)
    names = [name for name, key in recipe.cls.feature_network_fields().items() if config[key] != NONE]
    return {name: copy.deepcopy(given.get(name, AnyFeatures())).to("meta") for name in names}


def _watch_own_networks(method: Method, running: list[str]) -> None:
    """Check what the networks of the user return, and keep in `running` the name of the one that is being called."""
    for module, name, channels in user_code.networks_in(method):

        def enter(_: nn.Module, inputs: tuple[object, ...], name: str = name) -> None:
            running.append(name)

        def leave(
            _: nn.Module, inputs: tuple[object, ...], made: object, name: str = name, channels: int = channels
        ) -> None:
            running.pop()
            if not isinstance(made, Tensor):
                raise ConfigError(f"{name}: expected a tensor of images, got {type(made).__name__}")
            if isinstance(inputs[0], Tensor):
                given, got = tuple(inputs[0].shape), tuple(made.shape)
                if got != (expected := (given[0], channels, *given[2:])):
                    raise ConfigError(f"{name}: returns a tensor of shape {got} from {given}; expected {expected}")

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)


def _check_terms(players: object, terms: object) -> None:
    """Raise ConfigError for a loss term that is not one number."""
    name = players if isinstance(players, str) else "+".join(map(str, players if isinstance(players, tuple) else ()))
    if not isinstance(terms, Mapping):
        raise ConfigError(f"player {name}: expected a dict of loss terms, got {type(terms).__name__}")
    if not terms:
        raise ConfigError(f"player {players} has no loss: all its loss weights are 0")
    for term, value in terms.items():
        if not isinstance(value, Tensor):
            raise ConfigError(f"loss term {name}/{term}: expected a scalar tensor, got {type(value).__name__}")
        if value.numel() != 1:
            raise ConfigError(
                f"loss term {name}/{term}: expected a scalar, got a tensor of shape {tuple(value.shape)}: take its mean"
            )


def _run_stages(method: Method, images: Batch, size: int) -> None:
    """Run the updates of one step of each kind. ConfigError if a player has no loss term."""
    for stage in method.stages():
        for clock in _kinds_of_steps(stage):
            for players, terms in stage.updates({**images, **_labels(method, clock.step, size)}, clock):
                _check_terms(players, terms)


def _kinds_of_steps(stage: Stage) -> Iterator[Clock]:
    """Yield the clock of the first step of each schedule key."""
    clocks = [Clock(stage.name, step, stage.steps) for step in range(min(stage.steps, SEARCHED_STEPS))]
    yield from {stage.schedule_key(clock): clock for clock in reversed(clocks)}.values()


def _labels(method: Method, step: int, size: int) -> Batch:
    """Return labels of zeros in the shape of the data set whose turn this step is."""
    labels = {}
    for name, sets in method.labels().items():
        names = sets[step % len(sets)]
        shape = (size,) if names.kind == "class" else (size, len(names))
        labels[name] = torch.zeros(shape, dtype=torch.int64)
    return labels


def _explain(error: Exception, recipe: Recipe, world_size: int) -> str:
    """Return the message of a failed dry run: the setting to change where torch's error says it."""
    crop_size, train = recipe.data.crop_size, recipe.train
    if "more than 1 value per channel" in str(error):
        return (
            f"batch_size={train.batch_size} is one image at a time, and BatchNorm needs two: "
            f"set batch_size={2 * train.grad_accum_steps * world_size} at least"
        )
    if "more than 1 spatial element" in str(error):
        return (
            f"crop_size={crop_size} is downsampled to one pixel before a norm layer, which needs more: set a larger "
            f"crop_size, or use fewer layers in {recipe.method} ({_depth_settings(recipe)})"
        )
    return f"with crop_size={crop_size} the networks do not fit each other or the images: {error}"


def _depth_settings(recipe: Recipe) -> str:
    """Return the settings of the method that determine how often images are downsampled."""
    names = ("generator", "receptive_field", "num_scales", "d_layers")
    return ", ".join(f"{name}=" for name in names if name in recipe.cls.Config.model_fields)
