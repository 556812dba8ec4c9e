"""What the tests of the command line share: commands as a person types them, run here or in a process."""

import subprocess
import sys

from typer.testing import CliRunner

from diptych.cli import app
from diptych.runs.events import read_events

TINY = [
    "root=glyphs",
    "crop_size=32",
    "generator=unet_32",
    "ngf=4",
    "ndf=4",
    "receptive_field=16",
    "workers=0",
    "batch_size=2",
    "device=cpu",
]


NO_DISCRIMINATOR = [word for word in TINY if not word.startswith(("ndf", "receptive_field"))]


def diptych(*words, **options):
    """In this process; errors are raised as they are."""
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False, **options)


def as_rank(*words):
    """For `run_in_new_processes(as_rank, ..., ranks=2)`: the exit code of a command that trains with other ranks."""
    return diptych(*words).exit_code


def process(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "diptych.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def numbers(folder):
    """The lines and previews of a run's log, without what differs from run to run."""
    return [
        (e["event"], e["step"], e.get("terms"), e.get("error"), e.get("lr"))
        for e in read_events(folder / "events.jsonl")
        if e["event"] != "resume"
    ]


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
