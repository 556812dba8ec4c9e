"""`diptych data`: `check` and `get`."""

import typer

from diptych.cli import data_check, data_get

app = typer.Typer(
    no_args_is_help=True,
    help="Check a data set before training, or download a published one.",
    epilog=f"Example: {data_check.EXAMPLE}",
)
app.command(epilog=f"Example: {data_check.EXAMPLE}")(data_check.check)
app.command(epilog=f"Example: {data_get.EXAMPLE}")(data_get.get)
