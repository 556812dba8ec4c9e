"""`diptych compare`."""

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.completion import complete_protocol
from diptych.cli.json_output import Json, comparison_json, print_json

EXAMPLE = "diptych compare runs/l1 runs/gan -o compared/"


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders with results of `diptych evaluate`.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to create.")] = Path("compared"),
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            "-p",
            help="Protocol whose results are compared.",
            show_default="the one that all runs have",
            autocompletion=complete_protocol,
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            help="Human study of these runs, after `diptych study analyze`: its votes are further columns.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare evaluated runs: a web page with images and training curves, a CSV file and a LaTeX table."""
    from diptych.evaluation.compare.page import compare as write_comparison
    from diptych.evaluation.compare.page import evaluated_runs

    page = write_comparison(runs, out, protocol, study)
    if as_json:
        print_json({"page": page, **comparison_json(evaluated_runs(runs, protocol, study))})
    else:
        typer.echo(f"{page}")
