"""Settings given as `key=value`, and the settings that may not be given."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from diptych.contract import Method, setting_of
from diptych.errors import ConfigError, listed, nearest, shown
from diptych.settings import renamed
from diptych.system.safe_parse import parse_yaml

Models = Mapping[str, type[BaseModel]]  # by section of a recipe
Values = dict[str, dict[str, Any]]  # settings by section


def parse_overrides(overrides: Sequence[str], models: Models) -> dict[str, Any]:
    """Return the values of `key=value` arguments by key. Raises ConfigError if one is not of that form."""
    values = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"{override!r}: expected a setting as key=value")
        try:
            values[key] = text if is_text(key, models) else parse_yaml(text)
        except ValueError as error:
            raise ConfigError(f"{override!r}: {text!r} is not a valid YAML value") from error
    return values


def is_text(key: str, models: Models) -> bool:
    """Return whether the value of a setting is text as it stands, not YAML."""
    fields = [setting_of(model, key) for model in models.values() if key in model.model_fields]
    return key == "preset" or any(setting.text for setting in fields)


def section_of(key: str, models: Models, method: str) -> str:
    """Return the section that has a setting. Raises ConfigError with the present name or the nearest one."""
    sections = [section for section, model in models.items() if key in model.model_fields]
    if len(sections) > 1:
        raise ConfigError(f"{key!r} is a setting of {' and '.join(sections)}: rename the method's own")
    if sections:
        return sections[0]
    if new := renamed.new_name(key, method):
        raise ConfigError(f"{key} is now {new}: write {new}=")
    names = [name for model in models.values() for name in model.model_fields]
    here = renamed.named_elsewhere(key, names)
    hint = f"; here it is {here!r}" if here else nearest(key, names)
    raise ConfigError(f"no setting is called {key!r}{hint}; `diptych methods {method}` lists them")


def choose_length(overrides: Mapping[str, Any], values: Values) -> None:
    """Keep either steps or epochs: overrides win over the recipe. Raises ConfigError if both are given there."""
    if "steps" not in values["model"] or "epochs" not in values["train"]:
        return
    by_steps, by_epochs = "steps" in overrides, "epochs" in overrides
    if by_steps == by_epochs:
        raise ConfigError("steps and epochs both set the length of training: give one of them")
    section, key = ("train", "epochs") if by_steps else ("model", "steps")
    del values[section][key]


def refuse_former(values: Mapping[str, Mapping[str, Any]], models: Models, method: str, where: str) -> None:
    """Raise ConfigError if settings are given by a former name."""
    former = [
        f"{key} is now {new}"
        for section, model in models.items()
        for key in values[section].keys() - model.model_fields.keys()
        if (new := renamed.new_name(str(key), method))
    ]
    if former:
        raise ConfigError(f"{where}: {listed(sorted(former), comma='; ')}")


def refuse_misplaced(values: Mapping[str, Mapping[str, Any]], models: Models, where: str) -> None:
    """Raise ConfigError if a section holds settings of another section."""
    misplaced = [
        f"{key} is a setting of `{other}:`, not of `{section}:`: move it there"
        for section, model in models.items()
        for key in values[section].keys() - model.model_fields.keys()
        for other in models
        if key in models[other].model_fields
    ]
    if misplaced:
        raise ConfigError(f"{where}: {listed(sorted(misplaced), comma='; ')}")


def refuse_derived(cls: type[Method], given: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError if a setting is given that follows from the data or from another setting."""
    if (size := cls.image_size_field()) in given:
        raise ConfigError(f"{where}: {size} follows crop_size: give crop_size={shown(given[size])} instead")
    if labels := [key for key in cls.label_fields().values() if key in given]:
        raise ConfigError(f"{where}: {labels[0]} are read from the data: choose some by folders= or attributes=")
