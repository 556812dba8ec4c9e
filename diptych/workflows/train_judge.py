"""Judges: networks trained on real images to score translations. A judge is an ordinary run folder.

diptych judge train segmenter --data facades -o judges/facades
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from diptych.contract import Evaluator, Labels
from diptych.data.checks.unreadable import check_images
from diptych.data.images.transforms import Augment
from diptych.data.open import open_data
from diptych.data.value_encoding import channels_of
from diptych.errors import ConfigError, EvaluationError, nearest
from diptych.evaluation.metrics.palette import Palette, given_ignored, palette_of, share_ignored
from diptych.evaluation.protocols import find_protocol
from diptych.evaluation.results import Result
from diptych.evaluation.runner import SampleRequest, chosen, judge_samples, samples_of
from diptych.evaluation.samples import ImageBatches, SampleRow, Samples, keep, parts
from diptych.evaluation.tools import Tools
from diptych.inference.load import from_run
from diptych.methods import EVALUATORS, find
from diptych.runs.folder import Run
from diptych.settings import recipe
from diptych.settings.recipe import Recipe
from diptych.training.trainer import Trainer
from diptych.workflows import train as launch

BLANK = ("out_channels=1", "palette=[[0],[255]]")  # of a recipe whose palette is still to be found


def train(
    kind: str, settings: Sequence[str], folder: Path, tell: Callable[[str], None] = lambda line: None
) -> tuple[Trainer, Result | None]:
    """Train a judge in a new run folder, or go on with one; its result on held-out real images once it is done.

    How many pixels are ignored is told before.
    ConfigError if the one to go on with is of another kind, or was begun with other settings or images.
    """
    run = Run(folder)
    if run.config.is_file():
        there = str(run.settings().get("method"))
        if there != kind:
            raise ConfigError(f"{folder} holds a {there}, and no {kind}: choose another folder with -o")
        trainer = launch.resume(folder, settings)
    else:
        made_by = planned(kind, settings)
        if line := ignored_pixels(made_by):
            tell(line)
        trainer = launch.train(made_by, folder)
    if trainer.stopped is not None or not trainer.first:
        return trainer, None
    return trainer, on_real_images(trainer.run)


def planned(kind: str, settings: Sequence[str]) -> Recipe:
    """The recipe of a judge, with the palette found in the label maps where it needs one and none is given."""
    if kind not in EVALUATORS:
        raise ConfigError(f"{kind!r} is no judge{nearest(kind, EVALUATORS)}; there are {', '.join(EVALUATORS)}")
    return with_palette({"method": kind}, settings)


def with_palette(values: Mapping[str, Any], settings: Sequence[str]) -> Recipe:
    """The recipe of a judge, in which the palette is what the label maps hold, unless it is given or not needed."""
    given = {each.partition("=")[0] for each in settings} | set(values.get("model") or {})
    cls = find(str(values.get("method")))
    if "palette" not in cls.Config.model_fields or "palette" in given:
        return recipe.from_settings(values, settings, "judge")
    ignore, others = _ignored(values, settings)
    blank = recipe.from_settings({**values, "model": others}, [*_but("ignore", settings), *BLANK], "judge")
    data, _ = check_images(open_data(blank.data, cls.data, tuple(cls.batch)), blank.data)
    target = cls.routes[0].target
    if blank.data.label_map in ("target", "both"):
        classes = channels_of(target, blank.data, data, blank.images)
        palette = tuple(tuple(255 * (one == other) for other in range(classes)) for one in range(classes))
        if not ignore:  # pixels without a class are 0 in every channel
            settings = [*settings, f"ignore={[[0] * classes]}"]
    else:
        palette = palette_of(data.train.columns[target], ignore).colours
    if "out_channels" not in given:
        settings = [*settings, f"out_channels={len(palette[0])}"]
    return recipe.from_settings(values, [*settings, f"palette={[list(colour) for colour in palette]}"], "judge")


def _ignored(values: Mapping[str, Any], settings: Sequence[str]) -> tuple[tuple[tuple[int, ...], ...], dict[str, Any]]:
    """The colours to ignore, of the settings or else of the recipe's model, and what else the model says. ConfigError.

    They are taken out before the palette is known, which they must fit.
    """
    others = dict(values.get("model") or {})
    given = others.pop("ignore", None)
    texts = [each.partition("=")[2] for each in settings if each.partition("=")[0] == "ignore"]
    try:
        return given_ignored(texts[-1] if texts else json.dumps(given) if given else None), others
    except (EvaluationError, TypeError) as error:
        raise ConfigError(f"ignore: {error}") from error


def _but(name: str, settings: Sequence[str]) -> list[str]:
    return [each for each in settings if each.partition("=")[0] != name]


def ignored_pixels(made_by: Recipe) -> str | None:
    """For a person: how many pixels of the training label maps are ignored; None for a judge that ignores none."""
    with torch.device("meta"):
        method = made_by.cls(made_by.model)
    if not isinstance(method, Evaluator) or not method.ignored_classes():
        return None
    data, _ = check_images(open_data(made_by.data, made_by.cls.data, tuple(made_by.cls.batch)), made_by.data)
    data, palette = made_by.encode_data(data), Palette.of(method)
    share = share_ignored(data.train.columns[made_by.cls.routes[0].target], palette)
    return f"{100 * share:.2g} % of the pixels of the label maps are ignored: {' '.join(method.ignored_classes())}"


def on_real_images(run: Run) -> Result:
    """How a judge does on held-out real images: the ceiling of what it can say of translations. Left in its folder."""
    made_by = recipe.from_settings(run.settings(), where=str(run.config), saved=True)
    judge = from_run(run, "last", made_by.cls).to("auto")
    protocol = find_protocol("label-maps" if made_by.cls.routes else "told-apart")
    with tempfile.TemporaryDirectory() as folder:
        if made_by.cls.routes:
            samples = samples_of(run, SampleRequest(protocol.name))
        else:
            (channels,) = judge.method.channels().values()
            samples = labelled(made_by, channels, Path(folder))
        result = judge_samples(samples, protocol, Tools(judge=judge, device=judge.device), run.folder.name)
    result.save(run.folder / "results" / f"{protocol.name}.json")
    return result


def _known(labels: Labels, label: Any) -> dict[str, str]:
    """What is known of an image: its class, or the attributes that it has."""
    if labels.kind == "class":
        return {"label": labels.names[int(label)]}
    return {"has": ",".join(name for name, on in zip(labels.names, label, strict=True) if on)}


def labelled(made_by: Recipe, channels: int, folder: Path) -> Samples:
    """The held-out images of classes, cut as a judge sees them, in `folder`; each its own truth, its class `label`."""
    data, _ = check_images(open_data(made_by.data, made_by.cls.data, tuple(made_by.cls.batch)), made_by.data)
    data = made_by.encode_data(data)
    name, split = chosen(data, "auto")
    images, labels = (split.columns[entry] for entry in made_by.cls.batch)
    cut = Augment(made_by.data.crop_size, made_by.data.crop_size, made_by.data.resize_mode)
    pile, rows = ImageBatches(images, cut, channels), []
    for numbers in parts(len(pile)):
        for number, picture in zip(numbers, pile[numbers], strict=True):
            path = keep(folder, f"real/{number:05d}", picture)
            known = _known(data.labels[0], labels[number])
            rows.append(SampleRow(route="real", fake=path, truth=path, of=pile.called(number), controls=known))
    return Samples(folder, {"data": Path(made_by.data.root).name, "split": name}, tuple(rows), {})
