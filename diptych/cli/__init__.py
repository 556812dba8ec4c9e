"""The command line. Each command imports what it needs when it runs: `diptych --help` brings no torch."""

import os
import sys
import warnings

import typer

from diptych.cli import bring, data, doctor, judging, sampling, show, training, translating
from diptych.errors import DiptychError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=True,
    help="Translate images between domains with GANs: train, resume, translate, each method as its paper says.",
)
app.command()(training.train)
app.command()(training.resume)
app.command()(translating.translate)
app.command()(sampling.sample)
app.command()(training.demo)
app.add_typer(data.app, name="data")
app.command()(judging.samples)
app.command()(judging.evaluate)
app.add_typer(judging.judge_app, name="judge")
app.command()(judging.compare)
app.command()(judging.experiment)
app.command()(show.methods)
app.command()(doctor.doctor)
app.command(name="import")(bring.import_)


def main() -> None:
    """Errors that a person can mend are one line on stderr; a signal ends with 128 + its number."""
    warnings.showwarning = lambda message, *_: typer.echo(f"warning: {message}", err=True)
    try:
        app()
    except DiptychError as error:
        typer.echo(f"error: {error}", err=True)
        _exit(error.exit_code)
    except SystemExit as end:
        _exit(end.code)


def _exit(code: str | int | None) -> None:
    """One process of several ends without a farewell: on a busy machine gloo's threads aborted 2 of 33 at their end."""
    if "RANK" in os.environ and isinstance(code, int | None):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    sys.exit(code)
