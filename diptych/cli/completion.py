"""Shell completion of methods, recipes, experiments, protocols and settings.

Names are read from the source tree where that is enough; only the settings of a method import its module.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import typer

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

PACKAGE = Path(__file__).parents[1]


def recipe_names(folder: str = "") -> list[str]:
    """Return the names of the shipped recipes, or of the shipped experiments for `folder="experiments"`."""
    return sorted(path.stem for path in (PACKAGE / "settings" / "recipes" / folder).glob("*.yaml"))


def complete_method(incomplete: str) -> list[str]:
    """Return the names of methods and evaluators that begin with `incomplete`."""
    from diptych.methods import EVALUATORS, METHODS

    return [name for name in (*METHODS, *EVALUATORS) if name.startswith(incomplete)]


def complete_recipe(incomplete: str) -> list[str]:
    """Return the names of methods and shipped recipes that begin with `incomplete`."""
    from diptych.methods import METHODS

    return [name for name in (*METHODS, *recipe_names()) if name.startswith(incomplete)]


def complete_experiment(incomplete: str) -> list[str]:
    """Return the names of shipped experiments that begin with `incomplete`."""
    return [name for name in recipe_names("experiments") if name.startswith(incomplete)]


def complete_protocol(incomplete: str) -> list[str]:
    """Return the names of evaluation protocols that begin with `incomplete`; each has a file of its name."""
    files = (PACKAGE / "evaluation" / "protocols").glob("[!_]*.py")
    return sorted(name for file in files if (name := file.stem.replace("_", "-")).startswith(incomplete))


def complete_dataset(incomplete: str) -> list[str]:
    """Return the names of published data sets that begin with `incomplete`."""
    from diptych.data.sources.download import DATASETS

    return [name for name in DATASETS if name.startswith(incomplete)]


def complete_setting(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return `name=` of each setting of the method on the command line, or `name=value` of each choice of a setting."""
    from diptych.errors import DiptychError

    try:
        fields = _settings_of(ctx.params)
    except DiptychError:  # the recipe cannot be read, or no method has this name
        return []
    name, equals, value = incomplete.partition("=")
    if not equals:
        return [f"{key}=" for key in fields if key.startswith(name)]
    choices = _choices(fields[name].annotation) if name in fields else ()
    return [f"{name}={choice}" for choice in choices if choice.startswith(value)]


def _settings_of(params: dict[str, Any]) -> "dict[str, FieldInfo]":
    """Return all settings of the method that `train`, `resume` or `evaluator train` is called with."""
    from diptych.methods import find
    from diptych.settings.recipe import SETTINGS

    name = params.get("method") or _method_name(params)
    models = [*([find(name).Config] if name else []), *SETTINGS.values()]
    return {key: field for model in models for key, field in model.model_fields.items()}


def _method_name(params: dict[str, Any]) -> str:
    """Return the method that a recipe, an experiment or a run folder names; empty if none is found."""
    from diptych.methods import EVALUATORS, METHODS

    target = str(params.get("recipe") or params.get("kind") or "")
    if target in METHODS or target in EVALUATORS or ":" in target:
        return target
    if params.get("run"):
        return _method_in(Path(params["run"]) / "config.yaml")
    if params.get("experiment"):
        target = str(params["experiment"])
        return _method_in(_file_of(target, "experiments"))
    return _method_in(_file_of(target)) if target else ""


def _file_of(name: str, folder: str = "") -> Path:
    shipped = PACKAGE / "settings" / "recipes" / folder / f"{name}.yaml"
    return shipped if shipped.is_file() else Path(name)


def _method_in(file: Path) -> str:
    """Return the method of Diptych that a YAML file names; empty if it names none or cannot be read."""
    from diptych.methods import METHODS
    from diptych.system.safe_parse import parse_yaml, read_text

    try:
        document = parse_yaml(read_text(file))
    except (OSError, ValueError):
        return ""
    values = document if isinstance(document, dict) else {}
    recipe = values.get("recipe") if isinstance(values.get("recipe"), dict) else values
    name = recipe.get("method") if recipe else None
    return name if isinstance(name, str) and name in METHODS else ""


def _choices(annotation: Any) -> Iterator[str]:
    """Yield the values that a type allows: those of a Literal or bool, also within a union."""
    if annotation is bool:
        yield from ("true", "false")
    elif get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    else:
        for inner in get_args(annotation):
            yield from _choices(inner)
