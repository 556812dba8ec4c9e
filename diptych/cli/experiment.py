"""`diptych experiment`."""

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.allow_code import AllowCode
from diptych.cli.common import EvaluationControls, MethodClass, Settings, TrainingData, with_root
from diptych.cli.completion import complete_experiment

EXAMPLE = "diptych experiment pix2pix-losses --data facades/ -o experiments/losses"


def experiment(
    experiment: Annotated[
        str,
        typer.Argument(
            help="Shipped experiment (`diptych methods` lists them), or an experiment file (.yaml).",
            show_default=False,
            autocompletion=complete_experiment,
        ),
    ],
    settings: Settings = None,
    data: TrainingData = None,
    control: EvaluationControls = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for all runs.", show_default="experiments/EXPERIMENT"),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Runs to train at once, if memory allows.", min=1)] = 1,
    method: MethodClass = None,
    allow_code: AllowCode = None,
) -> None:
    """Train all runs of an experiment, evaluate them with one protocol, and compare them.

    Settings apply to all runs. The same command continues an experiment that was stopped.
    """
    from diptych.cli.controls import split_controls
    from diptych.workflows.experiment import run_experiment
    from diptych.workflows.experiment_runs import Interrupted

    folder = out or Path("experiments") / Path(experiment).stem
    try:
        page = run_experiment(
            experiment, with_root(settings, data), folder, jobs, method=method, controls=split_controls(control)
        )
    except Interrupted as stop:
        typer.echo("stopped, checkpoints saved; continue with the same command")
        raise typer.Exit(128 + stop.number) from stop
    typer.echo(f"{page}")
