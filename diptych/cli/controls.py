"""`--control KEY=VALUE`: values of a method's controls from the command line."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diptych.inference.translator import Translator


def parse_controls(translator: "Translator", pairs: Sequence[str]) -> dict[str, Any]:
    """Return the value of each `key=value`, converted to the type of the control's default. Raises ConfigError."""
    from diptych.errors import ConfigError

    known = {control.name: control for control in translator.controls}
    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--control {pair}: expected key=value")
        kind = type(known[key].default) if key in known and not known[key].image else str
        try:
            values[key] = kind(text)
        except ValueError as error:
            raise ConfigError(f"--control {key}={text}: expected {kind.__name__}") from error
    return values
