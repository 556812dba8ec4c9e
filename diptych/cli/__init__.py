"""The command line: one module a command. A command imports what it needs when it runs, so `--help` needs no torch."""

import io
import os
import sys
import warnings
from types import ModuleType
from typing import Annotated, Any

import typer

import diptych
from diptych.cli import (
    check,
    compare,
    data,
    demo,
    doctor,
    evaluate,
    evaluator,
    experiment,
    export,
    generate,
    import_,
    methods,
    predict,
    push,
    resume,
    serve,
    study,
    train,
    translate,
)
from diptych.cli.former_names import CommandGroup
from diptych.errors import DiptychError

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=True,
    help="Image-to-image translation with GANs: train a method, resume a run, translate images, evaluate the result.",
    epilog="Example: diptych train pix2pix --data facades/ epochs=200",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"diptych {diptych.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Options of `diptych` itself."""


def _add(command: Any, module: ModuleType, name: str | None = None) -> None:
    """Register a command, with its module's example at the end of its help."""
    app.command(name=name, epilog=f"Example: {module.EXAMPLE}")(command)


_add(train.train, train)
_add(resume.resume, resume)
_add(demo.demo, demo)
_add(translate.translate, translate)
_add(generate.generate, generate)
_add(predict.predict, predict)
_add(evaluate.evaluate, evaluate)
_add(compare.compare, compare)
_add(experiment.experiment, experiment)
app.add_typer(evaluator.app, name="evaluator")
app.add_typer(study.app, name="study")
app.add_typer(data.app, name="data")
_add(serve.serve, serve)
_add(push.push, push)
_add(methods.methods, methods)
_add(check.check, check)
_add(export.export, export)
_add(import_.import_, import_, "import")
_add(doctor.doctor, doctor)


def main() -> None:
    """Run the command line. A DiptychError is one line on stderr; a signal ends with exit code 128 + its number."""
    replace_unencodable_characters()
    warnings.showwarning = lambda message, *_: typer.echo(f"warning: {message}", err=True)
    try:
        app()
    except DiptychError as error:
        typer.echo(f"error: {error}", err=True)
        _exit(error.exit_code)
    except SystemExit as exit_:
        _exit(exit_.code)


def replace_unencodable_characters() -> None:
    """Replace characters that the encoding of a terminal, pipe or log lacks, which would otherwise end a command."""
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _exit(code: str | int | None) -> None:
    """Exit. A rank of several skips the clean-up of the interpreter, in which gloo's threads can abort the process.

    On a busy machine 2 of 33 ranks aborted that way.
    """
    if "RANK" in os.environ and isinstance(code, int | None):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    sys.exit(code)
