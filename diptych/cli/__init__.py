"""The command line. Each command imports what it needs when it runs: `diptych --help` brings no torch."""

import io
import os
import sys
import warnings
from typing import Annotated

import typer

import diptych
from diptych.cli import data, doctor, evaluate, generate, import_, methods, train, translate
from diptych.errors import DiptychError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=True,
    help="Translate images between domains with GANs: train, resume, translate, each method as its paper says.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"diptych {diptych.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Options of `diptych` itself."""


app.command()(train.train)
app.command()(train.resume)
app.command()(translate.translate)
app.command()(generate.sample)
app.command()(train.demo)
app.add_typer(data.app, name="data")
app.command()(evaluate.samples)
app.command()(evaluate.evaluate)
app.add_typer(evaluate.judge_app, name="judge")
app.command()(evaluate.compare)
app.command()(evaluate.experiment)
app.command()(methods.methods)
app.command()(doctor.doctor)
app.command(name="import")(import_.import_)


def main() -> None:
    """Errors that a person can mend are one line on stderr; a signal ends with 128 + its number."""
    print_what_can_be()
    warnings.showwarning = lambda message, *_: typer.echo(f"warning: {message}", err=True)
    try:
        app()
    except DiptychError as error:
        typer.echo(f"error: {error}", err=True)
        _exit(error.exit_code)
    except SystemExit as end:
        _exit(end.code)


def print_what_can_be() -> None:
    """From here on, what the encoding of a terminal, pipe or log lacks is replaced: it must not end a command."""
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _exit(code: str | int | None) -> None:
    """One process of several ends without a farewell: on a busy machine gloo's threads aborted 2 of 33 at their end."""
    if "RANK" in os.environ and isinstance(code, int | None):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    sys.exit(code)
