"""Validation of settings and documents as pydantic models, and of the size of the networks that settings ask for."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from diptych.errors import ConfigError, DiptychError, listed, nearest, printable, shown
from diptych.system.safe_parse import LARGEST_TEXT, parse_json, parse_yaml, read_text

if TYPE_CHECKING:
    from diptych.contract import Method

Model = TypeVar("Model", bound=BaseModel)
LARGEST_NETWORKS = 8 * 2**30  # bytes of parameters and buffers of all networks of a method


def read_document(
    path: Path, model: type[Model], *, error: type[DiptychError], what: str, largest: int = LARGEST_TEXT
) -> Model:
    """Return a JSON or YAML file as a validated `model`. Raises `error`, as `read_mapping` does."""
    values = read_mapping(path, error=error, what=what, largest=largest)
    try:
        return checked(model, values, path.name)
    except DiptychError as problem:
        raise error(f"{path}: not {what} ({problem})") from problem


def read_mapping(path: Path, *, error: type[DiptychError], what: str, largest: int = LARGEST_TEXT) -> dict[Any, Any]:
    """Return the mapping in a YAML file (`.yaml`, `.yml`) or JSON file (any other name) of at most `largest` bytes.

    Raises `error`, saying "PATH: not WHAT (reason)", if the file cannot be read or parsed or holds no mapping.
    """
    parse = parse_yaml if path.suffix in (".yaml", ".yml") else parse_json
    try:
        values = parse(read_text(path, largest))
    except (OSError, ValueError) as problem:
        raise error(f"{path}: not {what} ({problem})") from problem
    if not isinstance(values, dict):
        raise error(f"{path}: not {what} (expected a mapping, got {type(values).__name__})")
    return values


def checked(model: type[Model], values: Mapping[Any, Any], where: str) -> Model:
    """Return `model(**values)`. Raises ConfigError that names every wrong key at once."""
    try:
        instance = model.model_validate(dict(values))
    except ValidationError as error:
        problems = [_describe(model, problem) for problem in error.errors()]
        raise ConfigError(f"{where}: {listed(problems, comma='; ')}") from error
    coerced = [
        f"{key}={shown(values[key])}: expected {expected}"
        for key, value in instance.model_dump().items()
        if key in values and (expected := _expected_type(values[key], value))
    ]
    if coerced:
        raise ConfigError(f"{where}: {'; '.join(coerced)}")
    return instance


def _expected_type(given: Any, parsed: Any) -> str | None:
    """Return the expected type where pydantic coerces silently: "64" or true to a number, bytes to a string."""
    if isinstance(parsed, bool):
        return None if isinstance(given, bool) else "true or false"
    if isinstance(parsed, int | float):
        return "a number" if isinstance(given, bool | str | bytes) else None
    return "a string" if isinstance(parsed, str) and isinstance(given, bytes) else None


def _describe(model: type[BaseModel], problem: Mapping[str, Any]) -> str:
    key = printable(".".join(map(str, problem["loc"]))[:80])
    if problem["type"] == "extra_forbidden":
        return f"no setting is called {shown(key)}{nearest(key, model.model_fields)}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}={shown(problem['input'])}: {message}" if key else message


def check_network_size(method: "Method", where: str) -> None:
    """Raise ConfigError if the networks, on the meta device, are larger than LARGEST_NETWORKS."""
    tensors = [*method.parameters(), *method.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size <= LARGEST_NETWORKS:
        return
    defaults = {key: field.default for key, field in type(method.config).model_fields.items()}
    raised = [
        f"{key}={value} (default {defaults[key]})"
        for key, value in method.config.model_dump().items()
        if type(value) is type(defaults[key]) is int and value > defaults[key] and key != "steps"
    ]
    raise ConfigError(
        f"{where}: the networks would take {size / 2**30:.0f} GiB, more than the limit of {LARGEST_NETWORKS >> 30} "
        "GiB: "
        f"lower {', '.join(raised) or 'their sizes'}"
    )
