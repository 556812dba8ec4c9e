"""`diptych import`."""

from pathlib import Path
from typing import Annotated, Any

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
    which: Annotated[
        str | None,
        typer.Option(help="of a file with several networks: the one to take; two, as G_A,G_B, for both directions"),
    ] = None,
    domains: Annotated[
        str | None, typer.Option(help="StarGAN: what its domains are called, as cat,dog,wild", show_default=False)
    ] = None,
    attributes: Annotated[
        str | None, typer.Option(help="StarGAN: what its attributes are called, as Male,Young", show_default=False)
    ] = None,
    exclusive: Annotated[
        list[str] | None,
        typer.Option(help="StarGAN: attributes of which one holds at most, with commas", show_default=False),
    ] = None,
) -> None:
    """Turn a published checkpoint into a model folder.

    Of pix2pix, CycleGAN, CUT, MUNIT, DRIT, MSGAN, StarGAN, StarGAN v2 or SRGAN.

    Nothing in the file is run: a process of its own reads it, without network, and hands over numbers alone.
    """
    from diptych.contract import Labels
    from diptych.errors import ConfigError
    from diptych.importers.import_model import import_model
    from diptych.settings.validate import checked

    if (out / "config.json").exists():
        raise ConfigError(f"{out} holds a model already; choose another folder")
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty, and its files might be replaced; choose a new folder with -o")
    if exclusive and not attributes:
        raise ConfigError("--exclusive: name the attributes too, by --attributes")
    given: list[dict[str, Any]] = []
    if attributes:
        together = [_parted(text) for text in exclusive or []]
        given.append({"names": _parted(attributes), "kind": "attributes", "exclusive": together})
    if domains:
        given.append({"names": _parted(domains)})
    labels = tuple(checked(Labels, each, "--attributes" if "kind" in each else "--domains") for each in given)
    translator = import_model(file, back, method, labels, _parted(which) if which else ())
    try:
        translator.save(out)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error}); choose another folder with -o") from error
    config = translator.method.config.model_dump()
    told = (
        "generator",
        "ngf",
        "n_blocks",
        "norm",
        "n_downsample",
        "upsample",
        "in_channels",
        "out_channels",
        "channels",
        "image_size",
        "scale",
        "w_hpf",
    )
    facts = ", ".join(f"{name} {config[name]}" for name in told if name in config)
    typer.echo(f"{out}: {translator.name}, {facts}")


def _parted(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
