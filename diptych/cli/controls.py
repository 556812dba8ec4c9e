"""`--control KEY=VALUE`: values of a method's controls from the command line."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diptych.inference.image_translator import ImageTranslator


def parse_controls(translator: "ImageTranslator", pairs: Sequence[str]) -> dict[str, Any]:
    """Return the value of each `key=value`, converted to the type of the control's default. Raises ConfigError."""
    return translator.parse_controls(split_controls(pairs))


def split_controls(pairs: Sequence[str] | None) -> dict[str, str]:
    """Return the text of each `key=value` by key. Raises ConfigError."""
    from diptych.errors import ConfigError

    values = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--control {pair}: expected key=value")
        values[key] = text
    return values
