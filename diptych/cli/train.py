"""`diptych train`, `resume` and `demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.allow_code import AllowCode, allow_settings

if TYPE_CHECKING:
    from diptych.training.trainer import Trainer

Folder = Annotated[Path, typer.Argument(help="a run folder", show_default=False)]

Method = Annotated[
    str | None,
    typer.Option(
        help="package.module:Class of a method outside of Diptych that the file may name; its code is imported",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(help="key=value, over the recipe", metavar="[KEY=VALUE]...", show_default=False),
]


def train(
    what: Annotated[
        str,
        typer.Argument(
            help="a method, a shipped recipe (`diptych methods` lists both), or a recipe.yaml", show_default=False
        ),
    ],
    settings: Settings = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="folder of images, or glyphs", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="run folder to make", show_default="runs/WHAT-DATA")
    ] = None,
    method: Method = None,
    allow_code: AllowCode = None,
) -> None:
    """Train a method on a folder of images. Ctrl-C finishes the step and saves; `diptych resume` goes on."""
    from diptych.methods import find
    from diptych.settings import recipe
    from diptych.workflows import train as launch

    allow_settings(settings)
    chosen = recipe.load_recipe(
        what, [*(settings or []), *([f"root={data}"] if data else [])], find(method) if method else None
    )
    folder = (
        out
        or Path("runs")
        / f"{Path(what).stem.replace(':', '-')}-{Path(chosen.data.root).name.replace(':', '-').replace('/', '-')}"
    )
    end(launch.train(chosen, folder))


def resume(
    run: Folder,
    settings: Settings = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="a field that may differ from what the run was made with", show_default=False),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="where the images are now", show_default="where they were")
    ] = None,
    method: Method = None,
    allow_code: AllowCode = None,
) -> None:
    """Go on with a run that was stopped, bit for bit as if it had not been; or with a change that is allowed by name.

    `diptych resume runs/pairs steps=200000 --allow steps` trains it for longer.
    """
    from diptych.methods import find
    from diptych.workflows import train as launch

    allow_settings(settings)
    changes = [*(settings or []), *([f"root={data}"] if data else [])]
    end(launch.resume(run, changes, allow or (), method=find(method) if method else None))


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to make")] = Path("demo"),
    steps: Annotated[
        int | None,
        typer.Option(
            help="optimiser steps; default: as many of the recipe's 1200 as two minutes allow, at least 400", min=1
        ),
    ] = None,
) -> None:
    """Train a translator of letters for at most about two minutes, and leave a report with pictures.

    A few steps are timed first to choose how many fit, and the expected time is printed. `--steps 1200` trains all.
    """
    from diptych.workflows.demo import run_demo

    run_demo(out, steps)


def end(trainer: "Trainer") -> None:
    from diptych.system.distributed import leave

    leave()
    if trainer.stopped is not None:
        trainer.console.print(
            f"stopped at step {trainer.engine.step} and saved; go on with: diptych resume {trainer.run.folder}",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(128 + trainer.stopped)
    trainer.console.print(f"done: {trainer.run.folder}/report.html", highlight=False, soft_wrap=True)
