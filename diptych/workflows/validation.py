"""Validation: a protocol applied to held-out images every `eval_every` steps of a training."""

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
from diptych.evaluation.runner import default_protocol, evaluate_samples, first_samples, plan_jobs, sample_split
from diptych.evaluation.tools import load_tools
from diptych.inference.translator import Translator
from diptych.settings.recipe import Recipe
from diptych.training.trainer import Validate


def validator(recipe: Recipe, method: Method, data: Data, device: torch.device) -> Validate | None:
    """Return the function that scores held-out images, as the trainer calls it; None without `eval_every`.

    Raises EvaluationError or ConfigError if protocol, metric or evaluator do not fit, before training starts.
    """
    settings = recipe.evaluate
    if settings.eval_every is None:
        return None
    split = first_samples(data.held_out, settings.eval_images)
    protocol = find_protocol(settings.protocol or default_protocol(recipe.cls, split))
    if settings.monitor is not None:
        side = math.inf if protocol.whole_images else recipe.data.crop_size * recipe.cls.traits.upscale_factor
        _check_monitor(settings.monitor, protocol, side)
    evaluator = Path(settings.evaluator).expanduser() if settings.evaluator else None
    tools = load_tools(settings.extractor, evaluator, device=str(device))
    if protocol.needs_evaluator:
        tools.require_evaluator()
    try:
        plan_jobs(method, recipe.method, protocol, split, data.train, settings.eval_controls)
    except EvaluationError as error:
        raise EvaluationError(f"protocol={protocol.name} and {recipe.method}: {error}") from error

    def validate(method: Method, device: torch.device) -> tuple[dict[str, float], str, float]:
        translator = Translator(method, recipe.method, recipe.cls.inference_networks, {}, device)
        with tempfile.TemporaryDirectory() as folder:
            samples = sample_split(
                translator, recipe, split, data.train, protocol, Path(folder), {}, controls=settings.eval_controls
            )
            scores = evaluate_samples(samples, protocol, tools, recipe.method).scores
            num_routes = len(samples.by_route())
        name, error = _monitored(scores, num_routes, settings.monitor, protocol)
        return {score.name: round(score.value, 6) for score in scores}, name, error

    return validate


def _check_monitor(name: str, protocol: Protocol, side: float) -> None:
    """Raise ConfigError if a metric is unknown, not part of the protocol, or needs larger images than `side` pixels."""
    try:
        metric = metric_of(name)
    except EvaluationError as error:
        raise ConfigError(f"monitor={name}: {error}") from error
    if metric.name not in protocol.names():
        raise ConfigError(f"monitor={name}: not measured by {protocol}, which measures {', '.join(protocol.names())}")
    if side < metric.min_side:
        raise ConfigError(
            f"monitor={name}: it needs images of {metric.min_side} pixels on a side, and crop_size={side:g}"
        )


def _monitored(scores: Sequence[Score], num_routes: int, name: str | None, protocol: Protocol) -> tuple[str, float]:
    """Return the name of the monitored metric, and its value as an error: the mean over routes, or of one route.

    Raises ConfigError if `name` was not measured, or if there is no `name` and no metric of the protocol can choose.
    """
    by_metric: dict[str, list[Score]] = {}
    for score in scores:
        metric = score.name.partition("/")[2] if num_routes > 1 else score.name
        by_metric.setdefault(metric, []).append(score)
    default = next((metric for metric in protocol.monitors or by_metric if metric in by_metric), None)
    if name is None and default is None:
        raise ConfigError(
            f"{protocol} measured {', '.join(by_metric)}, none of which chooses the best checkpoint by default: "
            f"set extractor=NAME or evaluator=FOLDER, or choose one of them by monitor=NAME"
        )
    by_metric |= {score.name: [score] for score in scores}  # of a single route
    if name is not None and name not in by_metric:
        raise ConfigError(f"monitor={name}: not measured{nearest(name, by_metric)}; there are {', '.join(by_metric)}")
    monitored = name or str(default)
    errors = [metric_of(score.name).error(score.value) for score in by_metric[monitored]]
    return monitored, sum(errors) / len(errors)
