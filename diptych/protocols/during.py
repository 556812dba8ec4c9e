"""Protocols applied while training: held-out images judged every so many steps, by the weights of that moment."""

import tempfile
from pathlib import Path

import torch

from diptych.contract import Method
from diptych.data.columns import Data
from diptych.engine.trainer import Examine
from diptych.errors import ConfigError, nearest
from diptych.evaluate.scores import Score
from diptych.evaluate.tools import gather
from diptych.protocols import find_protocol
from diptych.protocols.apply import first, judge_samples, sample, usual
from diptych.recipe import Recipe
from diptych.translator import Translator


def examiner(recipe: Recipe, data: Data, device: torch.device) -> Examine | None:
    """What judges the validation images as the recipe says; None where it asks for nothing. EvaluationError."""
    settings = recipe.evaluate
    if settings.every is None:
        return None
    split = first(data.held_out, settings.images)
    protocol = find_protocol(settings.protocol or usual(recipe.cls, split))
    judge = Path(settings.judge).expanduser() if settings.judge else None
    tools = gather(settings.extractor, judge, device=str(device))
    if protocol.needs_judge:
        tools.the_judge()

    def examine(method: Method, device: torch.device) -> tuple[dict[str, float], str, float]:
        translator = Translator(method, recipe.method, recipe.cls.ships, {}, device)
        with tempfile.TemporaryDirectory() as folder:
            samples = sample(translator, recipe, split, data.train, protocol, Path(folder), {})
            scores = judge_samples(samples, protocol, tools, recipe.method).scores
        chosen = _chosen(scores, settings.measure)
        values = {score.name: round(score.value, 6) for score in scores}
        return values, chosen.name, chosen.value if chosen.better == "lower" else -chosen.value

    return examine


def _chosen(scores: tuple[Score, ...], name: str | None) -> Score:
    """The first, unless one is named. ConfigError if nothing of that name was measured."""
    found = {score.name: score for score in scores}
    if name is not None and name not in found:
        raise ConfigError(f"measure={name}: not measured{nearest(name, found)}; there are {', '.join(found)}")
    return found[name] if name else scores[0]
