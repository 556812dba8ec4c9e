"""Protocols applied while training: held-out images judged every so many steps, by the weights of that moment."""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from diptych.contract import Method
from diptych.data.dataset import Data
from diptych.errors import ConfigError, EvaluationError, nearest
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.metrics.table import metric_of
from diptych.evaluation.protocols import Protocol, find_protocol
from diptych.evaluation.runner import first, judge_samples, sample, usual
from diptych.evaluation.tools import gather
from diptych.inference.translator import Translator
from diptych.settings.recipe import Recipe
from diptych.training.trainer import Validate


def validator(recipe: Recipe, method: Method, data: Data, device: torch.device) -> Validate | None:
    """What judges the validation images as the recipe says; None where it asks for nothing. EvaluationError.

    A protocol that is not for such a method is told here, before anything is made.
    """
    settings = recipe.evaluate
    if settings.eval_every is None:
        return None
    split = first(data.held_out, settings.eval_images)
    protocol = find_protocol(settings.protocol or usual(recipe.cls, split))
    if settings.monitor is not None:
        _check_listed(
            settings.monitor,
            protocol,
            math.inf if protocol.whole else recipe.data.crop_size * recipe.cls.traits.upscale_factor,
        )
    judge = Path(settings.evaluator).expanduser() if settings.evaluator else None
    tools = gather(settings.extractor, judge, device=str(device))
    if protocol.needs_judge:
        tools.the_judge()
    try:
        protocol.ways(method, split, data.train)
    except EvaluationError as error:
        raise EvaluationError(f"protocol={protocol.name} and {recipe.method}: {error}") from error

    def examine(method: Method, device: torch.device) -> tuple[dict[str, float], str, float]:
        translator = Translator(method, recipe.method, recipe.cls.inference_networks, {}, device)
        with tempfile.TemporaryDirectory() as folder:
            samples = sample(translator, recipe, split, data.train, protocol, Path(folder), {})
            scores = judge_samples(samples, protocol, tools, recipe.method).scores
            routes = len(samples.by_route())
        name, error = _chosen(scores, routes, settings.monitor, protocol)
        return {score.name: round(score.value, 6) for score in scores}, name, error

    return examine


def _check_listed(name: str, protocol: Protocol, side: float) -> None:
    """ConfigError for a measure that is not in the table, or not in this protocol, or needs larger images."""
    try:
        metric = metric_of(name)
    except EvaluationError as error:
        raise ConfigError(f"monitor={name}: {error}") from error
    if metric.name not in protocol.names():
        known = ", ".join(protocol.names())
        raise ConfigError(f"monitor={name}: {protocol} does not give it; there are {known}")
    if side < metric.min_side:
        raise ConfigError(
            f"monitor={name}: it needs images of {metric.min_side} pixels on a side, and crop_size={side:g}"
        )


def _chosen(scores: Sequence[Score], routes: int, name: str | None, protocol: Protocol) -> tuple[str, float]:
    """The measure that chooses, and its mean over the routes, or its value on one that is named, as an error.

    ConfigError if nothing of that name was measured, or none is named and nothing measured tells better from worse.
    """
    found: dict[str, list[Score]] = {}
    for score in scores:
        found.setdefault(score.name.partition("/")[2] if routes > 1 else score.name, []).append(score)
    usual = next((each for each in protocol.chooses or found if each in found), None)
    if name is None and usual is None:
        raise ConfigError(
            f"{protocol} measured {', '.join(found)}, by which no checkpoint is called the best unasked: "
            f"give extractor=NAME or evaluator=FOLDER, or name one of them by monitor=NAME"
        )
    found |= {score.name: [score] for score in scores}
    if name is not None and name not in found:
        raise ConfigError(f"monitor={name}: not measured{nearest(name, found)}; there are {', '.join(found)}")
    chosen = name or str(usual)
    errors = [metric_of(score.name).error(score.value) for score in found[chosen]]
    return chosen, sum(errors) / len(errors)
