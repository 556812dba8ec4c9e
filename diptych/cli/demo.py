"""`diptych demo`."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "diptych demo -o demo"


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder to create.")] = Path("demo"),
    steps: Annotated[
        int | None,
        typer.Option(help="Number of training steps.", min=1, show_default="as many as fit in 2 minutes, 400 to 1200"),
    ] = None,
) -> None:
    """Train pix2pix on letters for about two minutes and write a report with sample images.

    Without `--steps`, a few steps are timed first and the expected time is printed.
    """
    from diptych.workflows.demo import run_demo

    run_demo(out, steps)
