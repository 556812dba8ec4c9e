"""`diptych doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.common import Device
from diptych.cli.json_output import Json, print_json

EXAMPLE = "diptych doctor runs/ --seconds 5"


def doctor(
    folder: Annotated[Path, typer.Argument(help="Folder that runs would be saved in.")] = Path("runs"),
    device: Device = "auto",
    seconds: Annotated[float, typer.Option(help="Seconds to measure training speed for.", min=0.0)] = 10.0,
    as_json: Json = False,
) -> None:
    """Check this machine: device, precision, free disk space and training speed.

    Exit code 0: training would work. Exit code 1: something would make it fail.
    """
    from rich.console import Console

    from diptych.workflows.doctor import diagnose

    console = Console(highlight=False, markup=False, quiet=as_json)
    findings = []
    for finding in diagnose(folder, device, seconds):
        findings.append(finding)
        style = "bold red" if finding.is_problem else ""
        console.print(f"{finding.subject:<16}{finding.text}", style=style, soft_wrap=True)
    ok = not any(finding.is_problem for finding in findings)
    if as_json:
        rows = [{"name": finding.subject, "value": finding.text, "error": finding.is_problem} for finding in findings]
        print_json({"ok": ok, "findings": rows})
    raise typer.Exit(0 if ok else 1)
