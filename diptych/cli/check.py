"""`diptych check`."""

from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.completion import complete_method

if TYPE_CHECKING:
    from collections.abc import Callable

    from diptych.testing import MethodUnderTest

EXAMPLE = "diptych check my_package.unit:UNIT"


def check(
    method: Annotated[
        str,
        typer.Argument(
            help="Method to check: package.module:Class, or the name of a method of Diptych.",
            metavar="PACKAGE.MODULE:CLASS",
            show_default=False,
            autocompletion=complete_method,
        ),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(help="Name of a check to run, instead of all. Repeatable.", metavar="CHECK", show_default=False),
    ] = None,
) -> None:
    """Check that a method class keeps the contract of a method: exact resume, pure translation, learning, and more.

    Each check trains the config `checks.tiny` of the class on embedded letters at 32 pixels. A failed check prints what
    it found and what to change. Exit code 0: all checks passed. Exit code 1: at least one failed.
    """
    from diptych.methods import find
    from diptych.testing import MethodUnderTest

    checks = _selected(only)
    cls = find(method)
    failed = []
    for number, (name, run_check) in enumerate(checks.items(), 1):
        typer.echo(f"{number:2}/{len(checks)} {name}: ", nl=False)
        if not _passes(run_check, MethodUnderTest(cls)):
            failed.append(name)
    if failed:
        typer.echo(f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}")
        raise typer.Exit(1)
    typer.echo(f"all {len(checks)} checks passed")


def _selected(names: list[str] | None) -> "dict[str, Callable[[MethodUnderTest], None]]":
    """Return the checks of these names, or all of them. Raises ConfigError for an unknown name."""
    from diptych.errors import ConfigError, nearest
    from diptych.testing import CHECKS

    for name in names or []:
        if name not in CHECKS:
            raise ConfigError(f"--only {name}: no such check{nearest(name, CHECKS)}; there are {', '.join(CHECKS)}")
    return {name: run_check for name, run_check in CHECKS.items() if not names or name in names}


def _passes(run_check: "Callable[[MethodUnderTest], None]", subject: "MethodUnderTest") -> bool:
    """Run a check and print its time, or what it expected and found, with the remedy. Return whether it passed."""
    import time
    import traceback

    start = time.perf_counter()
    try:
        run_check(subject)
    except AssertionError as error:
        reason = str(error)
    except Exception as error:  # the code of the method itself failed
        frame = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
    else:
        typer.echo(f"passed ({time.perf_counter() - start:.1f} s)")
        return True
    promise = (run_check.__doc__ or "").strip().partition("\n")[0]
    typer.echo(f"FAILED\n    expected: {promise}\n    found: {reason}")
    return False
