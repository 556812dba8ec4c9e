"""A recipe: method, model, data and training settings as plain data, each key checked, with the nearest name on a typo.

    method: pix2pix
    preset: paper
    model: {l1: 100}
    data: {root: facades, direction: b2a}
    train: {epochs: 200}

On the command line the sections fall away: `l1=50 batch=4`. No two sections share a name.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from pydantic import BaseModel, ValidationError

from diptych.contract import Method, MethodConfig
from diptych.data.config import DataConfig
from diptych.data.layouts import Data, Pictures
from diptych.engine.config import TrainConfig
from diptych.errors import ConfigError, nearest
from diptych.methods import METHODS, find

Model = TypeVar("Model", bound=BaseModel)
TEXTS = ("preset", "root", "device")  # never read as numbers or anything else
SECTIONS = ("model", "data", "train")
SHIPPED = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Recipe:
    method: str
    model: MethodConfig
    data: DataConfig
    train: TrainConfig

    @property
    def cls(self) -> type[Method]:
        return find(self.method)

    def settings(self) -> dict[str, Any]:
        """As plain data that `from_settings` reads back to an equal recipe."""
        model = self.model.model_dump(exclude={"steps"} if self.train.epochs else set())
        data, train = (part.model_dump(exclude_none=True) for part in (self.data, self.train))
        return {"method": self.method, "model": model, "data": data, "train": train}

    def fitted(self, data: Data) -> "Recipe":
        """With what only the data can tell: channel counts, unless they were set, and epochs as steps."""
        found: dict[str, Any] = {}
        for name, key in self.cls.batch.items():
            column = data.train.columns[name]
            if key not in self.model.model_fields_set:
                found[key] = column.channels() if isinstance(column, Pictures) else np.shape(column)[-1]
        if self.train.epochs is not None:
            found["steps"] = math.ceil(self.train.epochs * len(data.train) / self.train.batch)
        train = self.train.model_copy(update={"epochs": None})
        return replace(self, model=checked(self.cls.Config, {**self.model.model_dump(), **found}, "model"), train=train)


def from_settings(settings: Mapping[str, Any], overrides: Iterable[str] = (), where: str = "recipe") -> Recipe:
    """Check and complete plain settings. ConfigError names every key that is wrong, and the nearest right one."""
    unknown = settings.keys() - {"method", "preset", "title", *SECTIONS}
    if unknown or not isinstance(settings.get("method"), str):
        raise ConfigError(
            f"{where}: a recipe has method, preset, model, data, train and title; "
            + (f"it does not know {', '.join(sorted(map(repr, unknown)))}" if unknown else "method is missing")
        )
    cls = find(settings["method"])
    for section in SECTIONS:
        if not isinstance(settings.get(section) or {}, Mapping):
            raise ConfigError(f"{where}: {section} holds settings by name, such as `{section}: {{key: value}}`")
    models: dict[str, type[BaseModel]] = {"model": cls.Config, "data": DataConfig, "train": TrainConfig}
    values = {section: dict(settings.get(section) or {}) for section in SECTIONS}
    changes = dict(_split(override) for override in overrides)
    preset = changes.pop("preset", settings.get("preset"))
    for key, value in changes.items():
        values[_section_of(key, models, settings["method"])][key] = value
    if "root" not in values["data"]:
        raise ConfigError("no images are named: give --data FOLDER, or --data glyphs to try it out on letters")
    values["model"] = {**preset_of(cls, preset, settings["method"]), **values["model"]}
    _settle_length(changes, values)
    parts, problems = {}, []
    for section, model in models.items():
        try:
            parts[section] = checked(model, values[section], section)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(f"{where}: " + "; ".join(problems))
    return Recipe(settings["method"], **parts)  # type: ignore[arg-type]


def _split(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"{override!r}: settings are written key=value")
    try:
        return key, text if key in TEXTS else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{override!r}: {text!r} is not a value that can be read") from error


def _section_of(key: str, models: Mapping[str, type[BaseModel]], method: str) -> str:
    found = [section for section, model in models.items() if key in model.model_fields]
    if len(found) > 1:
        raise ConfigError(f"{key!r} is a setting of {' and '.join(found)}: the method must call its own otherwise")
    if not found:
        names = [name for model in models.values() for name in model.model_fields]
        raise ConfigError(f"no setting is called {key!r}{nearest(key, names)}; `diptych methods {method}` lists them")
    return found[0]


def _settle_length(changes: Mapping[str, Any], values: dict[str, dict[str, Any]]) -> None:
    """Steps or epochs: the command line over the recipe, and never both."""
    if "steps" in values["model"] and "epochs" in values["train"]:
        if ("steps" in changes) == ("epochs" in changes):
            raise ConfigError("steps and epochs both say how long to train: give one")
        section, key = ("train", "epochs") if "steps" in changes else ("model", "steps")
        del values[section][key]


def from_file(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not a recipe that can be read ({error})") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: a recipe is a YAML mapping with at least `method: NAME`")
    return from_settings(settings, overrides, str(path))


def named(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """By the name of a method or shipped recipe, or the path of a YAML file. ConfigError has the nearest name."""
    if name.endswith((".yaml", ".yml")):
        return from_file(Path(name), overrides)
    if name in shipped():
        return from_file(shipped()[name], overrides)
    if name not in METHODS and ":" not in name:
        raise ConfigError(f"{name!r} is no method, shipped recipe or .yaml file{nearest(name, [*METHODS, *shipped()])}")
    return from_settings({"method": name}, overrides, name)


def shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def preset_of(cls: type[Method], name: str | None, method: str) -> dict[str, Any]:
    if name is not None and name not in cls.presets:
        raise ConfigError(f"{method} has no preset {name!r}; it has {', '.join(cls.presets)}")
    return dict(cls.presets[name or next(iter(cls.presets))])


def checked(model: type[Model], values: dict[str, Any], where: str) -> Model:
    """`model(**values)`, or ConfigError that names every wrong key at once."""
    try:
        return model(**values)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_in_words(model, problem) for problem in error.errors())) from error


def _in_words(model: type[BaseModel], problem: Mapping[str, Any]) -> str:
    key = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"no setting is called {key!r}{nearest(key, model.model_fields)}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}={problem['input']!r}: {message}" if key else message
