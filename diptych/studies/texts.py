"""The texts of the page, a YAML file for each language in `templates/study`; a study may give its own consent text."""

from functools import cache
from importlib.resources import files

from diptych.system.safe_parse import parse_yaml

LANGUAGES = ("en", "zh")


@cache
def texts(language: str) -> dict[str, str]:
    """Return the texts of a language by key."""
    file = files("diptych") / "templates" / "study" / f"{language}.yaml"
    return dict(parse_yaml(file.read_text(encoding="utf-8")))
