"""`diptych train`."""

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.allow_code import AllowCode
from diptych.cli.common import MethodClass, Settings, TrainingData, finish_training, with_root
from diptych.cli.completion import complete_recipe

EXAMPLE = "diptych train pix2pix --data facades/ direction=b2a epochs=200 -o runs/facades"


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="Method or shipped recipe (`diptych methods` lists both), or a recipe file (.yaml).",
            show_default=False,
            autocompletion=complete_recipe,
        ),
    ],
    settings: Settings = None,
    data: TrainingData = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder to create.", show_default="runs/RECIPE-DATA")
    ] = None,
    method: MethodClass = None,
    allow_code: AllowCode = None,
) -> None:
    """Train a method on a folder of images.

    Settings and data are checked before the run folder is created. Ctrl-C finishes the current step and saves a
    checkpoint; `diptych resume` continues from it.
    """
    from diptych.methods import find
    from diptych.settings.recipe import load_recipe
    from diptych.workflows import train as training

    chosen = load_recipe(recipe, with_root(settings, data), find(method) if method else None)
    finish_training(training.train(chosen, out or _default_folder(recipe, chosen.data.root)))


def _default_folder(recipe: str, root: str) -> Path:
    """Return runs/RECIPE-DATA, with the last part of the data's path."""
    name = Path(recipe).stem.replace(":", "-")
    data = Path(root).name.replace(":", "-").replace("/", "-")
    return Path("runs") / f"{name}-{data}"
