"""`--allow-code`: classes of own networks that a run or model folder may use, and those named in settings."""

from collections.abc import Sequence
from typing import Annotated

import typer


def _allow(names: list[str] | None) -> list[str] | None:
    if names:
        from diptych.networks.user_code import allow_all

        allow_all(names)
    return names


def allow_settings(settings: Sequence[str] | None) -> None:
    """Allow the classes that the user names on the command line, as `generator=package.module:Class`. ConfigError."""
    if any(":" in setting for setting in settings or ()):
        from diptych.networks import user_code

        user_code.allow_settings(settings or ())


AllowCode = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-code",
        help="Custom network class that the run or model may use; its module is imported. Repeatable.",
        metavar="PACKAGE.MODULE:CLASS",
        callback=_allow,
        show_default=False,
    ),
]
