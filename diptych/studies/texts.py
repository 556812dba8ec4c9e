"""The texts of the page, a YAML file for each language in `templates/study`; a design gives its own words as one text,
or as a text for each language.
"""

from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, get_args

from pydantic import Field

from diptych.system.safe_parse import parse_yaml

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
Text = Annotated[str, Field(min_length=1, max_length=20_000)]
Words = Text | Annotated[dict[Language, Text], Field(min_length=len(LANGUAGES))]  # for participants of all languages


@cache
def texts(language: str) -> dict[str, str]:
    """Return the texts of a language by key."""
    file = files("diptych") / "templates" / "study" / f"{language}.yaml"
    return dict(parse_yaml(file.read_text(encoding="utf-8")))
