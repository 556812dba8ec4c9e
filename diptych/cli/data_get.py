"""`diptych data get`."""

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.completion import complete_dataset

EXAMPLE = "diptych data get facades -o data"
FIRST_COMMANDS = {
    "mnist": "diptych evaluator train classifier --data {data} crop_size=32 load_size=34 flip=false batch_size=128 "
    "-o evaluators/digits",
    "svhn": "diptych train dtn-svhn --data {data} target_root=mnist.npz -o runs/numbers",
    "celeba": "diptych train stargan-celeba --data {data} table=list_attr_celeba.txt -o runs/faces",
    "cityscapes": "diptych train pix2pix-cityscapes --data {data} -o runs/streets",
    "facades": "diptych train facades --data {data} -o runs/facades",
    "cityscapes-256": "diptych train pix2pix-cityscapes --data {data} -o runs/streets",
    "maps": "diptych train pix2pix-map2aerial --data {data} -o runs/aerial",
    "edges2shoes": "diptych train pix2pix-edges2shoes --data {data} -o runs/shoes",
    "edges2handbags": "diptych train pix2pix-edges2handbags --data {data} -o runs/handbags",
    "night2day": "diptych train pix2pix-day2night --data {data} -o runs/night",
    "horse2zebra": "diptych train horse2zebra --data {data} -o runs/horses",
    "afhq": "diptych train starganv2-afhq --data {data} -o runs/animals",
}  # the command to continue with, by data set
FIRST_COMMANDS_OF_KIND = {
    "paired": "diptych train pix2pix --data {data} epochs=200 -o runs/pairs",
    "unpaired": "diptych train cyclegan --data {data} epochs=200 -o runs/unpaired",
    "images": "diptych evaluate runs/RUN --data {data} --protocol srgan-y",
}  # of the other data sets that are archives


def get(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Data set. Without it, all data sets are listed.", show_default=False, autocompletion=complete_dataset
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to download to.")] = Path("data"),
    archive: Annotated[
        Path | None,
        typer.Option(help="Archive fetched by hand, extracted instead of a download.", show_default=False),
    ] = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Accept the licence without a question, in scripts.", show_default=False),
    ] = False,
) -> None:
    """Download a published data set, verify it, and arrange it for training.

    Licence, size, mirrors and SHA-256 are shown first; for a licence that is not free, the command asks. An interrupted
    download continues when the command is repeated. Without network access, the command prints which files to put
    where. Cityscapes requires this: its files need a registration.
    """
    from rich.console import Console

    from diptych.data.sources import download
    from diptych.system.terminal import progress_bar

    if name is None:
        width = max(map(len, download.DATASETS))
        for key, dataset in download.DATASETS.items():
            typer.echo(f"{key:{width}}  {dataset.title} ({dataset.licence})")
        return
    dataset = download.find_dataset(name)
    typer.echo(f"{name}: {dataset.title}")
    for title, fact in dataset.facts().items():
        typer.echo(f"  {title:8} {fact}")
    if not (dataset.is_free or archive or yes):
        _ask(name)
    with progress_bar(Console(stderr=True), name, in_bytes=True) as progress:
        data = download.download(name, out, archive, progress)
    typer.echo(f"{data}: ready. To continue:\n{_first_command(name).format(data=data)}")


def _ask(name: str) -> None:
    """Ask whether the licence is accepted. DataError if not, or if nobody can answer."""
    from diptych.errors import DataError

    try:
        is_accepted = typer.confirm("This licence excludes commercial use, or is not stated. Download for such use?")
    except typer.Abort:  # no input
        is_accepted = False
    if not is_accepted:
        raise DataError(f"{name}: not downloaded, as its licence was not accepted; give --yes to accept it in scripts")


def _first_command(name: str) -> str:
    """Return the command to continue with, with `{data}` for the path."""
    from diptych.data.sources.published_archives import ARCHIVES

    return FIRST_COMMANDS[name] if name in FIRST_COMMANDS else FIRST_COMMANDS_OF_KIND[ARCHIVES[name].kind]
