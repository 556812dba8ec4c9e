"""Controls as text, as forms and the command line give them."""

import pytest

from diptych.contract import Control
from diptych.errors import ConfigError
from diptych.inference.controls import parse_controls

CONTROLS = (Control("sharp", "a flag", False), Control("seed", "a number", 0), Control("mix", "a share", 0.0))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("sharp", "false", False), ("sharp", "True", True), ("sharp", True, True), ("seed", "3", 3), ("mix", "0.5", 0.5)],
)
def test_text_becomes_the_type_of_the_default(name, text, value):
    parsed = parse_controls(CONTROLS, "model", {name: text})[name]
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(("name", "expected"), [("sharp", "true or false"), ("seed", "int"), ("mix", "float")])
def test_other_text_is_refused(name, expected):
    with pytest.raises(ConfigError, match=f"{name}=maybe: expected {expected}"):
        parse_controls(CONTROLS, "model", {name: "maybe"})
