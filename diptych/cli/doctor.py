"""`diptych doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.json_output import Json, print_json


def doctor(
    folder: Annotated[Path, typer.Argument(help="where runs would be kept")] = Path("runs"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda")] = "auto",
    seconds: Annotated[float, typer.Option(help="how long to measure the speed of a step", min=0.0)] = 10.0,
    as_json: Json = False,
) -> None:
    """Say what this machine has, what `auto` would choose here and why, whether runs can be kept, how fast a step is.

    The exit code is 0 if nothing stands in the way of training, else 1.
    """
    from rich.console import Console

    from diptych.workflows.doctor import examine

    console = Console(highlight=False, markup=False, quiet=as_json)
    found = []
    for finding in examine(folder, device, seconds):
        found.append(finding)
        console.print(
            f"{finding.subject:<16}{finding.text}", style="bold red" if finding.is_problem else "", soft_wrap=True
        )
    wrong = any(finding.is_problem for finding in found)
    if as_json:
        findings = [{"name": each.subject, "value": each.text, "error": each.is_problem} for each in found]
        print_json({"ok": not wrong, "findings": findings})
    raise typer.Exit(1 if wrong else 0)
