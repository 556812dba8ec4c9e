"""`diptych data get`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

EXAMPLE = "diptych data get mnist -o data"
FIRST_COMMANDS = {
    "mnist": "diptych evaluator train classifier --data {data} crop_size=32 load_size=34 flip=false batch_size=128 "
    "-o evaluators/digits",
    "svhn": "diptych train dtn-svhn --data {data} target_root=mnist.npz -o runs/numbers",
    "celeba": "diptych train stargan-celeba --data {data} table=list_attr_celeba.txt -o runs/faces",
    "cityscapes": "diptych train pix2pix --data {data} direction=b2a epochs=200 -o runs/streets",
}  # the command to continue with, by data set


def get(
    name: Annotated[
        Literal["mnist", "svhn", "celeba", "cityscapes"], typer.Argument(help="Data set.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to download to.")] = Path("data"),
) -> None:
    """Download a published data set with torchvision, verify it, and arrange it for training.

    Without network access, the command prints which files to put where. Cityscapes requires this: its files need a
    registration.
    """
    from diptych.data.sources import download

    data = download.download(name, out)
    typer.echo(f"{data}: {download.DATASETS[name].title}\n{FIRST_COMMANDS[name].format(data=data)}")
