"""`diptych resume`."""

from typing import Annotated

import typer

from diptych.cli.allow_code import AllowCode
from diptych.cli.common import MethodClass, RunFolder, Settings, finish_training, with_root

EXAMPLE = "diptych resume runs/facades steps=200000 --allow steps"


def resume(
    run: RunFolder,
    settings: Settings = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            help="Setting that may differ from the original run although it changes results. Repeatable.",
            metavar="SETTING",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help="Folder that the images were moved to.", show_default="as in the run"),
    ] = None,
    method: MethodClass = None,
    allow_code: AllowCode = None,
) -> None:
    """Continue a run from its newest checkpoint, with bit-identical results to an uninterrupted run.

    A changed setting that affects results is refused unless `--allow` names it.
    """
    from diptych.methods import find
    from diptych.workflows import train as training

    cls = find(method) if method else None
    finish_training(training.resume(run, with_root(settings, data), allow or (), method=cls))
