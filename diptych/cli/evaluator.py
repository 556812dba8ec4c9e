"""`diptych evaluator train`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from diptych.cli.common import Settings, finish_training, print_result

TRAIN_EXAMPLE = "diptych evaluator train segmenter --data facades/ -o evaluators/facades"
app = typer.Typer(
    no_args_is_help=True,
    help="Train the evaluator networks that score translations.",
    epilog=f"Example: {TRAIN_EXAMPLE}",
)


@app.command(epilog=f"Example: {TRAIN_EXAMPLE}")
def train(
    kind: Annotated[
        Literal["classifier", "segmenter"], typer.Argument(help="Kind of network to train.", show_default=False)
    ],
    data: Annotated[str, typer.Option("--data", "-d", help="Folder of real images.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder to create or continue.", show_default=False)],
    settings: Settings = None,
) -> None:
    """Train an evaluator network on real images and print its scores on held-out real images.

    A classifier learns the class or the attributes of images. A segmenter learns the label maps of pairs of photograph
    and label map (direction=b2a if the label map is the left or first image). Pass the run folder to
    `diptych evaluate --evaluator`.
    """
    from diptych.workflows.train_evaluator import train_evaluator

    trainer, result = train_evaluator(kind, [*(settings or []), f"root={data}"], out, log=typer.echo)
    if result is not None:
        typer.echo("\n".join(result.said))
        print_result(result)
    finish_training(trainer)


@app.callback()
def evaluator() -> None:
    """Keep `train` a subcommand although the group has only one."""
