"""`diptych push`: upload a run or model to the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.allow_code import AllowCode
from diptych.cli.common import MethodClass, Model, Which

EXAMPLE = "diptych push runs/facades user/facades --license cc-by-4.0 --private"


def push(
    model: Model,
    repository: Annotated[str, typer.Argument(help="Repository to write, user/name.", show_default=False)],
    license: Annotated[
        str | None,
        typer.Option(help="Licence of the weights, such as apache-2.0 or cc-by-nc-4.0; required.", show_default=False),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    revision: Annotated[
        str | None, typer.Option(help="Branch to write; it is created if it is missing.", show_default="main")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Name or hub id of the training dataset, for the card.", show_default="not named"),
    ] = None,
    sample: Annotated[
        list[Path] | None,
        typer.Option(help="Image to translate and show in the card. Repeatable.", show_default="no image"),
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show the run's newest sample grid: held-out images of its dataset.")
    ] = False,
    which: Which = "last",
    method: MethodClass = None,
    allow_code: AllowCode = None,
) -> None:
    """Upload a model with a model card to the Hugging Face Hub: weights, metrics with intervals, licence.

    No image is uploaded unless --sample or --preview is given. Log in first with `hf auth login` or HF_TOKEN.
    """
    from huggingface_hub import constants

    from diptych.methods import find
    from diptych.workflows.push import push as push_model

    name, notes = push_model(
        model,
        repository,
        license=license,
        private=private,
        revision=revision,
        dataset=dataset,
        samples=sample or [],
        preview=preview,
        which=which,
        method=find(method) if method else None,
    )
    for note in notes:
        typer.echo(note, err=True)
    typer.echo(f"{name}\n{constants.ENDPOINT}/{name.partition('@')[0]}")
