"""Write the results of a benchmark: tables, the machine, the versions and the command."""

import os
import platform
import sys
from pathlib import Path

import torch

from diptych.system.atomic_files import write_text

DATA = Path(os.environ.get("DIPTYCH_DATA", Path(__file__).parents[2] / "shared" / "data"))  # real images, if there


def leave(program: str, title: str, lead: str, tables: dict[str, list[list[str]]], versions: str = "") -> None:
    """Write `program`.md: each table's rows under its columns, which are `a | b | c`."""
    lines = [f"# {title}", "", lead, ""]
    for columns, rows in tables.items():
        dashes = "|".join(["---"] * (columns.count("|") + 1))
        lines += [f"| {columns} |", f"|{dashes}|", *(f"| {' | '.join(row)} |" for row in rows), ""]
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    lines += [
        f"{machine}, {os.cpu_count()} cores, torch {torch.__version__}, Python {platform.python_version()}{versions}.",
        f"Command: `python {' '.join([sys.argv[0], *map(_shown, sys.argv[1:])])}`",
        "",
    ]
    write_text(Path(program).with_suffix(".md"), "\n".join(lines))


def _shown(argument: str) -> str:
    """Return an argument of the command without the folders of this machine."""
    path = Path(argument)
    return path.name if path.is_absolute() else argument
