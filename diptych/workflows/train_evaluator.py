"""Train evaluator networks: classifiers and segmenters of real images that score translations.

An evaluator is an ordinary run folder:

    diptych evaluator train segmenter --data facades -o evaluators/facades
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from diptych.contract import Evaluator, Labels
from diptych.data.checks.unreadable import check_images
from diptych.data.dataset import Data
from diptych.data.images.transforms import augment_of
from diptych.data.open import open_data
from diptych.data.value_encoding import count_channels
from diptych.errors import ConfigError, EvaluationError, nearest
from diptych.evaluation.metrics.palette import Palette, palette_of, parse_ignored, share_ignored
from diptych.evaluation.protocols import find_protocol
from diptych.evaluation.results import Result
from diptych.evaluation.runner import SampleRequest, choose_split, evaluate_samples, samples_of
from diptych.evaluation.sample_writer import ImageBatches, batch_ranges, write_image
from diptych.evaluation.samples import SampleRow, Samples
from diptych.evaluation.tools import Tools
from diptych.inference.load import from_run
from diptych.methods import EVALUATORS, find
from diptych.runs.folder import Run
from diptych.settings import recipe as recipes
from diptych.settings.recipe import Recipe
from diptych.training.trainer import Trainer
from diptych.workflows import train

PLACEHOLDER = ("out_channels=1", "palette=[[0],[255]]")  # settings of a recipe before its palette is found
WHERE = "evaluator"  # the name of the recipe in error messages

Colours = tuple[tuple[int, ...], ...]


def train_evaluator(
    kind: str, settings: Sequence[str], folder: Path, log: Callable[[str], None] = lambda line: None
) -> tuple[Trainer, Result | None]:
    """Train an evaluator in a new run folder, or resume one; return its result on held-out real images when finished.

    The share of ignored pixels is logged before training. ConfigError if the folder holds a run of another kind, or
    one with other settings or images.
    """
    run = Run(folder)
    if run.config.is_file():
        existing = str(run.settings().get("method"))
        if existing != kind:
            raise ConfigError(f"{folder} holds a {existing}, not a {kind}: choose another folder with -o")
        trainer = train.resume(folder, settings)
    else:
        recipe = evaluator_recipe(kind, settings)
        if line := ignored_pixels(recipe):
            log(line)
        trainer = train.train(recipe, folder)
    if trainer.stopped is not None or not trainer.is_main:
        return trainer, None
    return trainer, evaluate_on_real_images(trainer.run)


def evaluator_recipe(kind: str, settings: Sequence[str]) -> Recipe:
    """Return the recipe of an evaluator, with the palette of the label maps if it needs one and none is given."""
    if kind not in EVALUATORS:
        raise ConfigError(
            f"{kind!r} is not an evaluator network{nearest(kind, EVALUATORS)}; choose one of {', '.join(EVALUATORS)}"
        )
    return with_palette({"method": kind}, settings)


def with_palette(values: Mapping[str, Any], settings: Sequence[str]) -> Recipe:
    """Return the recipe of an evaluator; a missing palette is taken from the label maps if it needs one."""
    given = {setting.partition("=")[0] for setting in settings} | set(values.get("model") or {})
    cls = find(str(values.get("method")))
    if "palette" not in cls.Config.model_fields or "palette" in given:
        return recipes.from_settings(values, settings, WHERE)
    ignore, model = _ignored(values, settings)
    placeholder = [*_without("ignore", settings), *PLACEHOLDER]
    partial = recipes.from_settings({**values, "model": model}, placeholder, WHERE)
    data = _open_data(partial)
    target = cls.routes[0].target
    settings = list(settings)
    if partial.data.label_map in ("target", "both"):
        classes = count_channels(target, partial.data, data, partial.images)
        palette: Colours = tuple(tuple(255 * (row == column) for column in range(classes)) for row in range(classes))
        if not ignore:  # pixels without a class are 0 in every channel
            settings.append(f"ignore={[[0] * classes]}")
    else:
        palette = palette_of(data.train.columns[target], ignore).colours
    if "out_channels" not in given:
        settings.append(f"out_channels={len(palette[0])}")
    settings.append(f"palette={[list(colour) for colour in palette]}")
    return recipes.from_settings(values, settings, WHERE)


def _ignored(values: Mapping[str, Any], settings: Sequence[str]) -> tuple[Colours, dict[str, Any]]:
    """Return the ignored colours, of the settings or else of the recipe, and the other settings of its model.

    They are removed from the model, as they cannot be validated before the palette is known. ConfigError.
    """
    model = dict(values.get("model") or {})
    in_recipe = model.pop("ignore", None)
    texts = [setting.partition("=")[2] for setting in settings if setting.partition("=")[0] == "ignore"]
    text = texts[-1] if texts else None
    try:
        if text is None and in_recipe:
            text = json.dumps(in_recipe)
        return parse_ignored(text), model
    except (EvaluationError, TypeError) as error:
        raise ConfigError(f"ignore: {error}") from error


def _without(name: str, settings: Sequence[str]) -> list[str]:
    return [setting for setting in settings if setting.partition("=")[0] != name]


def _open_data(recipe: Recipe) -> Data:
    """Return the data of a recipe without unreadable images."""
    data, _ = check_images(open_data(recipe.data, recipe.cls.data, tuple(recipe.cls.batch)), recipe.data)
    return data


def ignored_pixels(recipe: Recipe) -> str | None:
    """Return a line about the share of ignored pixels in the training label maps; None if no colours are ignored."""
    with torch.device("meta"):
        method = recipe.cls(recipe.model)
    if not isinstance(method, Evaluator) or not method.ignored_classes():
        return None
    data = recipe.encode_data(_open_data(recipe))
    share = share_ignored(data.train.columns[recipe.cls.routes[0].target], Palette.of(method))
    return f"{100 * share:.2g} % of the pixels of the label maps are ignored: {' '.join(method.ignored_classes())}"


def evaluate_on_real_images(run: Run) -> Result:
    """Evaluate an evaluator on held-out real images, and save the result in its folder: the ceiling of its scores."""
    recipe = recipes.from_settings(run.settings(), where=str(run.config), saved=True)
    evaluator = from_run(run, "last", recipe.cls).to("auto")
    is_segmenter = bool(recipe.cls.routes)
    protocol = find_protocol("label-maps" if is_segmenter else "classifier-accuracy")
    with tempfile.TemporaryDirectory() as folder:
        if is_segmenter:
            samples = samples_of(run, SampleRequest(protocol.name))
        else:
            (channels,) = evaluator.method.channels().values()
            samples = labelled_samples(recipe, channels, Path(folder))
        tools = Tools(evaluator=evaluator, device=evaluator.device)
        result = evaluate_samples(samples, protocol, tools, run.folder.name)
    result.save(run.folder / "results" / f"{protocol.name}.json")
    return result


def _label_controls(labels: Labels, label: Any) -> dict[str, str]:
    """Return the label of an image as controls of its row: its class, or its attributes."""
    if labels.kind == "class":
        return {"label": labels.names[int(label)]}
    return {"has": ",".join(name for name, on in zip(labels.names, label, strict=True) if on)}


def labelled_samples(recipe: Recipe, channels: int, folder: Path) -> Samples:
    """Write the held-out images, cropped as for the evaluator, into `folder`, and return them with their labels.

    Each image is both the translation and the ground truth.
    """
    data = recipe.encode_data(_open_data(recipe))
    name, split = choose_split(data, "auto")
    columns, labels = (split.columns[entry] for entry in recipe.cls.batch)
    transform = augment_of(recipe.data)
    images = ImageBatches(columns, transform, channels)
    rows = []
    for indices in batch_ranges(len(images)):
        for index, image in zip(indices, images[indices], strict=True):
            path = write_image(folder, f"real/{index:05d}", image)
            controls = _label_controls(data.labels[0], labels[index])
            rows.append(SampleRow(route="real", fake=path, truth=path, of=images.name_of(index), controls=controls))
    return Samples(folder, {"data": Path(recipe.data.root).name, "split": name}, tuple(rows), {})
