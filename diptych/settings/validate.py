"""Plain data as a checked pydantic model, with errors that name every wrong key and the nearest right one."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from diptych.errors import ConfigError, listed, nearest, printable, shown

Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], values: Mapping[Any, Any], where: str) -> Model:
    """`model(**values)`, or ConfigError that names every wrong key at once."""
    try:
        made = model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(
            f"{where}: " + listed([_in_words(model, found) for found in error.errors()], comma="; ")
        ) from error
    disguised = [
        f"{key}={shown(values[key])}: {wanted} is wanted"
        for key, value in made.model_dump().items()
        if key in values and (wanted := _disguised(values[key], value))
    ]
    if disguised:
        raise ConfigError(f"{where}: " + "; ".join(disguised))
    return made


def _disguised(given: Any, taken: Any) -> str | None:
    """What pydantic takes for another kind without a word: "64" or true where a number stands, bytes for a text."""
    if isinstance(taken, bool):
        return None if isinstance(given, bool) else "true or false"
    if isinstance(taken, int | float):
        return "a number" if isinstance(given, bool | str | bytes) else None
    return "a text" if isinstance(taken, str) and isinstance(given, bytes) else None


def _in_words(model: type[BaseModel], problem: Mapping[str, Any]) -> str:
    key = printable(".".join(map(str, problem["loc"]))[:80])
    if problem["type"] == "extra_forbidden":
        return f"no setting is called {shown(key)}{nearest(key, model.model_fields)}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}={shown(problem['input'])}: {message}" if key else message
