"""`diptych sample`."""

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.allow_code import AllowCode
from diptych.cli.train import Method

BATCH = 64  # images made at once


def sample(
    model: Annotated[str, typer.Argument(help="a run folder, a model folder, or a hub id", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for the images", show_default=False)],
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1_000_000, help="how many images")] = 64,
    seed: Annotated[int, typer.Option(help="which noise; image number i of a seed is always the same")] = 0,
    control: Annotated[
        list[str] | None,
        typer.Option("--control", "-c", help="key=value, such as domain=male", show_default=False),
    ] = None,
    which: Annotated[str, typer.Option(help="of a run folder: the last or the best checkpoint")] = "last",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda")] = "auto",
    method: Method = None,
    allow_code: AllowCode = None,
) -> None:
    """Make images out of noise, with a model that does."""
    import numpy as np
    from rich.progress import track

    from diptych.cli.translate import controls_of
    from diptych.data.images import image_io
    from diptych.errors import ConfigError, DataError
    from diptych.inference.load import load
    from diptych.methods import find

    if which not in ("last", "best"):
        raise ConfigError(f"--which {which}: choose last or best")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is there already: choose another folder with -o")
    translator = load(model, device=device, which=which, method=find(method) if method else None)
    controls = controls_of(translator, control or [])
    for first in track(range(0, count, BATCH), "sampling"):
        made = translator.sample(min(BATCH, count - first), seed, first, **controls)
        for number, picture in enumerate(map(np.atleast_3d, made), first):
            image_io.write(out / f"{number:06d}{'.png' if picture.shape[-1] in (1, 3) else '.npy'}", picture)
    typer.echo(f"{count} images in {out}")
