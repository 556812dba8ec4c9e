"""Former names of commands and options. Each is refused with the name that replaces it."""

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from diptych.errors import ConfigError

COMMANDS = {"sample": "generate", "samples": "predict", "judge": "evaluator"}


class CommandGroup(TyperGroup):
    """The commands of `diptych`. A former name raises ConfigError with the present one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name of a command, the command, and its arguments."""
        if args and args[0] in COMMANDS and not ctx.resilient_parsing:
            raise ConfigError(f"`diptych {args[0]}` is now `diptych {COMMANDS[args[0]]}`")
        return super().resolve_command(ctx, args)


def former_option(old: str, new: str) -> Any:
    """Return a hidden option that is refused with its present name."""
    return typer.Option(old, hidden=True, callback=_refuse(old, new))


def _refuse(old: str, new: str) -> Callable[[str | None], None]:
    def callback(value: str | None) -> None:
        if value is not None:
            raise ConfigError(f"{old} is now {new}: give {new} {value}")

    return callback
