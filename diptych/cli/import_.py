"""`diptych import`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from diptych.contract import Labels

EXAMPLE = "diptych import latest_net_G.pth -o models/facades"
SUMMARY_SETTINGS = (
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
)  # printed after an import


def import_(
    file: Annotated[Path, typer.Argument(help="Published generator, such as latest_net_G.pth.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Model folder to create; for HED a .safetensors file.", show_default=False),
    ],
    back: Annotated[
        Path | None, typer.Option(help="CycleGAN: file of the generator of the other direction.", show_default=False)
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Method of the checkpoint, such as pix2pix or cyclegan, if it is detected wrongly.",
            metavar="METHOD",
            show_default="detected",
        ),
    ] = None,
    which: Annotated[
        str | None,
        typer.Option(
            help="Network to import from a file of several; two names for both directions, as G_A,G_B.",
            show_default=False,
        ),
    ] = None,
    domains: Annotated[
        str | None, typer.Option(help="StarGAN and StarGAN v2: domain names, as cat,dog,wild.", show_default=False)
    ] = None,
    attributes: Annotated[
        str | None, typer.Option(help="StarGAN: attribute names, as Male,Young.", show_default=False)
    ] = None,
    exclusive: Annotated[
        list[str] | None,
        typer.Option(help="StarGAN: attributes of which at most one is set, as Black,Blond. Repeatable."),
    ] = None,
) -> None:
    """Convert a published checkpoint into a model folder.

    Supported: pix2pix, CycleGAN, CUT, MUNIT, DRIT, MSGAN, StarGAN, StarGAN v2 and SRGAN; and HED, the edge detector of
    task=edges. Code in the file is never run: a separate process without network access reads it and returns tensors
    only.
    """
    from diptych.errors import ConfigError
    from diptych.importers.import_model import import_model

    if out.suffix == ".safetensors" and not out.is_dir():
        if back or method or which or domains or attributes or exclusive:
            raise ConfigError(f"-o {out}: the other options are for generators, whose -o is a folder: leave them out")
        _import_edge_detector(file, out)
        return
    if (out / "config.json").exists():
        raise ConfigError(f"{out} already holds a model: choose another folder with -o")
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty, and its files might be replaced: choose a new folder with -o")
    if exclusive and not attributes:
        raise ConfigError("--exclusive requires --attributes, which names all attributes")
    labels = _labels(domains, attributes, exclusive or [])
    translator = import_model(file, back, method, labels, _split(which) if which else ())
    try:
        translator.save(out)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error}); choose another folder with -o") from error
    config = translator.method.config.model_dump()
    summary = ", ".join(f"{name} {config[name]}" for name in SUMMARY_SETTINGS if name in config)
    typer.echo(f"{out}: {translator.name}, {summary}")


def _import_edge_detector(file: Path, out: Path) -> None:
    """Convert the weights of HED to a safetensors file. Raises ConfigError, ImportRefused."""
    from diptych.errors import ConfigError
    from diptych.importers.edge_detector import import_edge_detector

    if out.exists():
        raise ConfigError(f"{out} already exists: choose another file with -o")
    import_edge_detector(file, out)
    typer.echo(f"{out}: weights of HED, for task=edges 'task_options={{kind: hed, weights: {out}}}'")


def _labels(domains: str | None, attributes: str | None, exclusive: list[str]) -> "tuple[Labels, ...]":
    """Return the labels that the options name. Raises ConfigError."""
    from diptych.contract import Labels
    from diptych.settings.validate import checked

    given: list[tuple[str, dict[str, Any]]] = []
    if attributes:
        groups = [_split(text) for text in exclusive]
        given.append(("--attributes", {"names": _split(attributes), "kind": "attributes", "exclusive": groups}))
    if domains:
        given.append(("--domains", {"names": _split(domains)}))
    return tuple(checked(Labels, values, option) for option, values in given)


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
