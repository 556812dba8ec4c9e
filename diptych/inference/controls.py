"""The controls of a translation, such as a domain or a seed: validated, and the route that they select."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from diptych.contract import Control, Route, TranslationModel
from diptych.errors import ConfigError, nearest

FLAGS: Mapping[str, bool] = {"true": True, "false": False}
NUMBERS: Mapping[type, type] = {int: Integral, float: Real}  # types that a control of this type accepts


def find_control(controls: Sequence[Control], model: str, name: str) -> Control:
    """Return the control of this name. Raises ConfigError, naming the model, if there is none."""
    known = {control.name: control for control in controls}
    if name not in known:
        raise ConfigError(f"{model} has no control {name!r}{nearest(name, known)}; it has {', '.join(known) or 'none'}")
    return known[name]


def parse_controls(controls: Sequence[Control], model: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of controls, text converted to the type of each control's default. Raises ConfigError."""
    return {name: _converted(find_control(controls, model, name), value) for name, value in values.items()}


def _converted(control: Control, value: Any) -> Any:
    """Return the text of a value, as on the command line, in the type of the control's default."""
    kind = type(control.default)
    if control.image or not isinstance(value, str) or kind is str:
        return value
    try:
        return FLAGS[value.lower()] if kind is bool else kind(value)
    except (KeyError, ValueError) as error:
        expected = "true or false" if kind is bool else kind.__name__
        raise ConfigError(f"{control.name}={value}: expected {expected}") from error


def check_controls(controls: Sequence[Control], model: str, values: Mapping[str, Any]) -> None:
    """Raise ConfigError for an unknown control, a value that is not among its choices, or a wrong type."""
    for name, value in values.items():
        control = find_control(controls, model, name)
        if control.choices and value not in control.choices:
            raise ConfigError(f"{name}={value!r}: choose one of {', '.join(control.choices)}")
        kind = type(control.default)
        if not control.image and not isinstance(value, NUMBERS.get(kind, kind)):
            raise ConfigError(f"{name}={value!r}: expected {kind.__name__}")


def select_route(model: TranslationModel, name: str, controls: Mapping[str, Any]) -> Route:
    """Return the most specific route that these controls select, by default the first one.

    Raises ConfigError if the method translates no images.
    """
    if not model.routes:
        remedy = ": use `diptych generate`" if model.traits.unconditional else ""
        raise ConfigError(f"{name} translates no images{remedy}")
    matching = [route for route in model.routes if route.controls.items() <= controls.items()]
    return max(matching or model.routes[:1], key=lambda route: len(route.controls))
