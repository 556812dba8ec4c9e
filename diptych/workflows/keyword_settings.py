"""Settings given as keyword arguments in Python, as overrides of the command line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diptych.errors import ConfigError
from diptych.networks import user_code
from diptych.settings.overrides import is_text
from diptych.settings.recipe import SETTINGS
from diptych.system.safe_parse import parse_yaml


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as on the command line, `key=value`. Classes given as values are allowed and become their names.

    Raises ConfigError for a value that is not plain data.
    """
    overrides = []
    for key, value in settings.items():
        if callable(value) or (key == "generator" and user_code.is_code(value)):
            value = user_code.allow(value)
        if isinstance(value, str | Path) and _is_read_as_text(key, str(value)):
            overrides.append(f"{key}={value}")
        else:
            overrides.append(f"{key}={_as_yaml(key, value)}")
    return overrides


def _is_read_as_text(key: str, value: str) -> bool:
    """Return whether `key=value` is read as this text, either as it stands or as YAML."""
    if is_text(key, SETTINGS):
        return True
    try:
        return parse_yaml(value) == value
    except ValueError:
        return False


def _as_yaml(key: str, value: Any) -> str:
    def as_setting(other: Any) -> Any:
        if isinstance(other, Path):
            return str(other)
        if hasattr(other, "item"):  # a scalar of NumPy or PyTorch
            return other.item()
        raise TypeError(f"{type(other).__name__} is no setting")

    try:
        return json.dumps(value, default=as_setting, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}={value!r}: expected a number, text, list or path ({error})") from error
