"""Example images of the page, and what a person can draw as input of a model.

They are the images of a folder, or else held-out source images of the data set of a run, if that is still there.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.images import image_io
from diptych.data.sources.folders import is_image_name
from diptych.data.tasks.pair_side import held_out_state
from diptych.errors import ConfigError, DiptychError
from diptych.inference.image_translator import ImageTranslator
from diptych.serving.descriptions import ModelDescription, describe_model
from diptych.serving.drawing import class_labels, drawing_of
from diptych.serving.server_options import ServerOptions

MAX_EXAMPLES = 12
Described = tuple[ModelDescription, list[bytes]]


def describe_all(options: ServerOptions, translators: dict[str, ImageTranslator]) -> list[Described]:
    """Return the description of each model and its example images, as files. Raises ConfigError, DataError."""
    files = example_files(options.examples)
    sources = {each.name: each.source for each in options.models}
    return [
        with_examples(describe_model(name, translator, options.max_megapixels), translator, files or sources[name])
        for name, translator in translators.items()
    ]


def with_examples(
    description: ModelDescription, translator: ImageTranslator, source: Sequence[Path] | str
) -> Described:
    """Return the description with what can be drawn, and the example images, as files: given ones, or of a run."""
    if description.source is None:
        return description, []
    adapter = translator.adapter({})
    adapter.prepare()
    classes = adapter.source_encoding.num_classes
    if isinstance(source, str):
        images = _held_out(source, translator)
        data = [image_io.encoded("example.png", image) for image in images]
    else:
        images = [adapter.cut(translator.read(path)) for path in source]
        data = [path.read_bytes() for path in source]
    fields = {"drawing": "labels", "labels": class_labels(classes)} if classes else drawing_of(images)
    addresses = tuple(f"/v1/models/{description.name}/examples/{number}" for number in range(len(data)))
    changes = {"source": description.source.model_copy(update=fields), "examples": addresses}
    return description.model_copy(update=changes), data


def example_files(folder: str | None) -> list[Path]:
    """Return the first image files of a folder. Raises ConfigError if there are none."""
    if folder is None:
        return []
    path = Path(folder).expanduser()
    files = sorted(file for file in path.iterdir() if is_image_name(file.name)) if path.is_dir() else []
    if not files:
        raise ConfigError(f"--examples {folder}: expected a folder with images")
    return files[:MAX_EXAMPLES]


def _held_out(source: str, translator: ImageTranslator) -> list[np.ndarray]:
    """Return some held-out source images (H, W, C) of a run, uint8; none if its data set is not there."""
    folder = Path(source).expanduser()
    if not (folder / "config.yaml").is_file():
        return []
    from diptych.data.open import open_data
    from diptych.runs.folder import Run
    from diptych.settings.recipe import from_settings

    try:
        run = Run.open(folder)
        recipe = from_settings(run.settings(), where=str(run.config), saved=True)
        data = open_data(recipe.data, recipe.cls.data, tuple(recipe.cls.batch))
        column = (data.test or data.held_out).columns[translator.model.routes[0].source]
        step = max(1, len(column) // MAX_EXAMPLES)
        images = [_example(column, index, translator) for index in range(0, len(column), step)][:MAX_EXAMPLES]
    except (DiptychError, KeyError) as error:
        print(f"{source}: no example images ({error})", file=sys.stderr)
        return []
    return [image for image in images if image.ndim == 3 and image.dtype == np.uint8 and image.shape[2] in (1, 3)]


def _example(column: Any, index: int, translator: ImageTranslator) -> np.ndarray:
    """Return an image of a column, or the source that a task computes from it where sources are expected."""
    from diptych.data.image_tensors import image_name, side_of

    image = np.asarray(column[index])
    side = side_of(column) if translator.options.already_source else None
    if side is None:
        return image
    source = side.of(image, held_out_state(image_name(column, index)))
    return image_io.from_unit(source * 2 - 1, np.uint8)
