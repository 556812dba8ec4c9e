"""`diptych data check` of a folder of volumes."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from diptych.data.checks.volume_survey import DomainReport

MAX_LISTED = 3  # kinds of grids of a folder that are listed


def check_volumes(folder: Path) -> None:
    """Read all volumes, and print what they hold, problems, and a command to start with. Exit code 1: errors."""
    from rich.console import Console

    from diptych.data.checks.volume_survey import survey_volumes
    from diptych.errors import printable
    from diptych.system.terminal import progress_bar

    with progress_bar(Console(stderr=True), "reading volumes") as progress:
        survey = survey_volumes(folder, progress)
    typer.echo(f"{printable(str(folder))}: volumes in two folders" + (f", {survey.kind}" if survey.kind else ""))
    for domain in survey.domains:
        typer.echo(f"\n  {domain.split} {printable(domain.folder.name)}: {_contents(domain)}")
    for title, texts in (("notes", survey.notes), ("errors", survey.errors)):
        if texts:
            typer.echo(f"\n{title}\n" + "\n".join(f"  {printable(text)}" for text in texts))
    if survey.errors:
        raise typer.Exit(1)
    low_high = [f"[{low:g},{high:g}]" for low, high in survey.ranges().values()]
    method = "pix2pix" if survey.kind == "pairs" else "cyclegan"
    typer.echo(f"\nno errors\n  diptych train {method} --data {folder} 'range=[{','.join(low_high)}]'")


def _contents(domain: "DomainReport") -> str:
    """Return lines about the volumes of one folder."""
    from diptych.errors import listed

    if not domain.volumes:
        return "no volume that can be read"
    low, high = domain.limits
    patients = len({each.volume.patient_id for each in domain.volumes})
    grids = sorted({str(each.volume.geometry) for each in domain.volumes})
    empty = f"; {domain.empty} are empty (one value), and stay in the training" if domain.empty else ""
    return (
        f"{len(domain.volumes)} volumes of {patients} patients, values {low:g} to {high:g}\n"
        f"    {domain.slices} axial slices{empty}\n    {listed(grids, MAX_LISTED, '; ')}"
    )
