"""`diptych import`."""

from pathlib import Path
from typing import Annotated

import typer


def import_(
    file: Annotated[Path, typer.Argument(help="a published generator, such as latest_net_G.pth", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="model folder to make", show_default=False)],
    back: Annotated[
        Path | None, typer.Option(help="CycleGAN: the generator of the other direction", show_default=False)
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="pix2pix or cyclegan, where the guess is wrong", show_default=False)
    ] = None,
) -> None:
    """Turn a published checkpoint of the pix2pix and CycleGAN family into a model folder.

    Nothing in the file is run: a process of its own reads it, without network, and hands over numbers alone.
    """
    from diptych.errors import ConfigError
    from diptych.importers import import_model

    if (out / "config.json").exists():
        raise ConfigError(f"{out} holds a model already; choose another folder")
    translator = import_model(file, back, method)
    try:
        translator.save(out)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error}); choose another folder with -o") from error
    config = translator.method.config.model_dump()
    typer.echo(
        f"{out}: {translator.name}, {config['generator']} of width {config['width']}, norm {config['norm']}, "
        f"{config['in_channels']} to {config['out_channels']} channels"
    )
