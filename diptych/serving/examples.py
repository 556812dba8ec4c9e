"""Example images of the page, and what a person can draw as input of a model."""

from pathlib import Path

from diptych.data.sources.folders import is_image_name
from diptych.errors import ConfigError
from diptych.inference.image_translator import ImageTranslator
from diptych.serving.descriptions import ModelDescription, describe_model
from diptych.serving.server_options import ServerOptions

MAX_EXAMPLES = 12


def add_examples(
    options: ServerOptions, translators: dict[str, ImageTranslator]
) -> list[tuple[ModelDescription, list[bytes]]]:
    """Return the description of each model and its example images, as files."""
    described = []
    for name, translator in translators.items():
        description = describe_model(name, translator, options.max_megapixels)
        images = [path.read_bytes() for path in example_files(options.examples)]
        addresses = tuple(f"/v1/models/{name}/examples/{number}" for number in range(len(images)))
        described.append((description.model_copy(update={"examples": addresses}), images))
    return described


def example_files(folder: str | None) -> list[Path]:
    """Return the first image files of a folder. Raises ConfigError if there are none."""
    if folder is None:
        return []
    path = Path(folder).expanduser()
    files = sorted(file for file in path.iterdir() if is_image_name(file.name)) if path.is_dir() else []
    if not files:
        raise ConfigError(f"--examples {folder}: expected a folder with images")
    return files[:MAX_EXAMPLES]
