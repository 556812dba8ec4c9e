"""`diptych data`: `check`, `get` and `frames`."""

import typer

from diptych.cli import data_check, data_frames, data_get

app = typer.Typer(
    no_args_is_help=True,
    help="Check a data set before training, download a published one, or make one of videos.",
    epilog=f"Example: {data_check.EXAMPLE}",
)
app.command(epilog=f"Example: {data_check.EXAMPLE}")(data_check.check)
app.command(epilog=f"Example: {data_get.EXAMPLE}")(data_get.get)
app.command(epilog=f"Example: {data_frames.EXAMPLE}")(data_frames.frames)
