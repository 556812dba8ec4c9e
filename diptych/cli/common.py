"""Options and helpers that several commands share. Nothing here imports torch, so `diptych --help` stays fast."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diptych.cli.allow_code import allow_settings
from diptych.cli.completion import complete_protocol, complete_setting

if TYPE_CHECKING:
    from diptych.evaluation.results import Result
    from diptych.training.trainer import Trainer

Checkpoint = Literal["last", "best"]
SplitName = Literal["auto", "train", "val", "test", "all"]

Model = Annotated[
    str,
    typer.Argument(
        help="Run folder, model folder, ONNX file, or Hugging Face repository, user/name@revision.",
        show_default=False,
    ),
]
RunFolder = Annotated[Path, typer.Argument(help="Run folder.", show_default=False)]
ModelFolder = Annotated[
    Path, typer.Argument(help="Run folder, model folder, or hub id user/name@revision.", show_default=False)
]
Which = Annotated[Checkpoint, typer.Option(help="Checkpoint of a run folder to load.")]
Device = Annotated[str, typer.Option(help="Device to compute on: auto, cpu, cuda or cuda:N.")]
AlreadySource = Annotated[
    bool,
    typer.Option(
        "--already-source",
        help="Images are sources of the model's task already, such as drawings of edges, and not photographs.",
    ),
]
Controls = Annotated[
    list[str] | None,
    typer.Option(
        "--control",
        "-c",
        help="Value of a control of the method, such as direction=b2a; `diptych methods NAME` lists them. Repeatable.",
        metavar="KEY=VALUE",
        show_default=False,
    ),
]
EvaluationControls = Annotated[
    list[str] | None,
    typer.Option(
        "--control",
        "-c",
        help="Value of a control for every translation, such as inference=paper. Repeatable.",
        metavar="KEY=VALUE",
        show_default=False,
    ),
]
MethodClass = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="Class of a method that is not part of Diptych and that the file may name; its module is imported.",
        metavar="PACKAGE.MODULE:CLASS",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        help="Settings, which take precedence over the recipe; `diptych methods NAME` lists them.",
        metavar="[KEY=VALUE]...",
        show_default=False,
        autocompletion=complete_setting,
    ),
]
TrainingData = Annotated[
    str | None,
    typer.Option(
        "--data",
        "-d",
        help="Folder of images, or glyphs for the embedded letters.",
        show_default="root= of the recipe",
    ),
]
EvaluationData = Annotated[
    str | None, typer.Option("--data", "-d", help="Folder of images.", show_default="the training data set")
]
Split = Annotated[
    SplitName,
    typer.Option(help="Split to translate. auto: test if there is one, else val. all: a folder without splits."),
]
Count = Annotated[
    int | None, typer.Option(help="Maximum number of images, or of images of each class.", min=1, show_default="all")
]
Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        "-p",
        help="Evaluation protocol: what to translate and which metrics to compute.",
        show_default="by the kind of data and method",
        autocompletion=complete_protocol,
    ),
]


def counted_images(count: int) -> str:
    """Return `1 image` or `N images`."""
    return f"{count} image" if count == 1 else f"{count} images"


def with_root(settings: Sequence[str] | None, data: str | None) -> list[str]:
    """Return the settings with `--data` as the setting `root`. Classes that the settings name are allowed."""
    allow_settings(settings)
    return [*(settings or []), *([f"root={data}"] if data else [])]


def finish_training(trainer: "Trainer") -> None:
    """Print how the training ended. Raises typer.Exit with 128 + the number of the signal that stopped it."""
    from diptych.system.distributed import leave

    leave()
    if trainer.stopped is not None:
        trainer.console.print(
            f"stopped at step {trainer.engine.step}, checkpoint saved; "
            f"continue with: diptych resume {trainer.run.folder}",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(128 + trainer.stopped)
    trainer.console.print(f"done: {trainer.run.folder}/report.html", highlight=False, soft_wrap=True)


@contextmanager
def progress_bar_on_terminal(title: str, to_stderr: bool = False) -> Iterator["Callable[[int, int], None] | None"]:
    """Yield the function that advances a progress bar, or None if the output is not a terminal."""
    from rich.console import Console

    from diptych.system.terminal import progress_bar

    with progress_bar(Console(stderr=to_stderr), title) as progress:
        yield progress


def print_result(result: "Result") -> None:
    """Print the scores of an evaluation as a table."""
    from rich.console import Console
    from rich.table import Column, Table

    from diptych.errors import printable
    from diptych.evaluation.metrics.table import metric_of

    metric_column = Column("metric", overflow="fold")  # a long name wraps and is never cut
    table = Table(metric_column, "value", "95 % interval", "images", "ceiling", "chance", box=None, header_style="bold")
    for score in result.scores:
        bounds = [f"{bound:.4g}" if bound is not None else "" for bound in (score.ceiling, score.chance)]
        metric = metric_of(score.name)
        name = f"{printable(score.name)} {metric.arrow}" + (f" {metric.unit}" if metric.unit else "")
        interval = f"{score.low:.4g} to {score.high:.4g}"
        table.add_row(name, f"{score.value:.4g}", interval, str(score.count), *bounds)
    console = Console(highlight=False, markup=False)
    console.print(f"\n{result.protocol} of {printable(result.name)}", style="bold")
    console.print(table)
