"""`diptych data check` of a folder of volumes."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from diptych.cli.json_output import print_json, split_sizes_json

if TYPE_CHECKING:
    from diptych.data.checks.volume_survey import DomainReport, VolumeSurvey
    from diptych.data.config import DataConfig

MAX_LISTED = 3  # kinds of grids of a folder that are listed


def check_volumes(config: "DataConfig", settings: Sequence[str], as_json: bool) -> None:
    """Read all volumes, and print what they hold, problems, and a command to start with. Exit code 1: errors.

    `settings` are those of `config` that were given, which the command repeats.
    """
    from rich.console import Console

    from diptych.data.checks.volume_survey import survey_volumes
    from diptych.system.terminal import progress_bar

    with progress_bar(Console(stderr=True), "reading volumes") as progress:
        survey = survey_volumes(config, progress)
    if as_json:
        print_json(_json(survey, Path(config.root), settings))
    else:
        _print(survey, Path(config.root), settings)
    if survey.errors:
        raise typer.Exit(1)


def _print(survey: "VolumeSurvey", root: Path, settings: Sequence[str]) -> None:
    from rich.console import Console

    from diptych.cli.data_check import print_sizes
    from diptych.errors import printable

    typer.echo(f"{printable(str(root))}: volumes in two folders" + (f", {survey.kind}" if survey.kind else ""))
    for domain in survey.domains:
        typer.echo(f"\n  {domain.split} {printable(domain.folder.name)}: {_contents(domain)}")
    print_sizes(Console(highlight=False, markup=False, emoji=False), survey.sizes)
    for title, texts in (("notes", survey.notes), ("errors", survey.errors)):
        if texts:
            typer.echo(f"\n{title}\n" + "\n".join(f"  {printable(text)}" for text in texts))
    if not survey.errors:
        typer.echo(f"\nno errors\n  {_command(survey, root, settings)}")


def _command(survey: "VolumeSurvey", root: Path, settings: Sequence[str]) -> str:
    """Return the command that starts the training."""
    low_high = [f"[{low:g},{high:g}]" for low, high in survey.ranges().values()]
    words = ["diptych", "train", _method(survey), "--data", str(root), f"range=[{','.join(low_high)}]", *settings]
    return shlex.join(words)


def _method(survey: "VolumeSurvey") -> str:
    return "pix2pix" if survey.kind == "pairs" else "cyclegan"


def _contents(domain: "DomainReport") -> str:
    """Return lines about the volumes of one folder."""
    from diptych.errors import listed

    if not domain.volumes:
        return "no volume that can be read"
    low, high = domain.limits
    empty = f"; {domain.empty} are empty (one value), and stay in the training" if domain.empty else ""
    return (
        f"{len(domain.volumes)} volumes of {domain.patients} patients, values {low:g} to {high:g}\n"
        f"    {domain.slices} axial slices{empty}\n    {listed(domain.grids, MAX_LISTED, '; ')}"
    )


def _json(survey: "VolumeSurvey", root: Path, settings: Sequence[str]) -> dict[str, Any]:
    """Return the document of `diptych data check --json` for volumes."""
    command = None if survey.errors else _command(survey, root, settings)
    fit = {"name": _method(survey), "fits": True, "summary": survey.kind, "notes": survey.notes, "command": command}
    return {
        "folder": root,
        "ok": not survey.errors,
        "layout": "volumes in two folders",
        "parts": [
            {
                "split": domain.split,
                "domain": domain.folder.name,
                "volumes": len(domain.volumes),
                "patients": domain.patients,
                "slices": domain.slices,
                "empty_slices": domain.empty,
                "values": domain.limits if domain.volumes else None,
                "grids": domain.grids,
            }
            for domain in survey.domains
        ],
        "split_by_ratio": split_sizes_json(survey.sizes, "volumes"),
        "problems": [{"kind": text, "files": [], "solution": None, "error": True} for text in survey.errors],
        "methods": [fit] if command else [],
    }
