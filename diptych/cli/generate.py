"""`diptych generate`."""

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.allow_code import AllowCode
from diptych.cli.common import Controls, Device, MethodClass, Model, Which, counted_images

EXAMPLE = "diptych generate runs/letters -o letters/ -n 64"
BATCH_SIZE = 64  # images generated in one forward pass


def generate(
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the images to.", show_default=False)],
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1_000_000, help="Number of images.")] = 64,
    seed: Annotated[int, typer.Option(help="Random seed; image N of a seed is always the same.")] = 0,
    control: Controls = None,
    which: Which = "last",
    device: Device = "auto",
    method: MethodClass = None,
    allow_code: AllowCode = None,
) -> None:
    """Generate images from noise with an unconditional GAN.

    To translate images, use `diptych translate`.
    """
    import numpy as np
    from rich.progress import track

    from diptych.cli.controls import parse_controls
    from diptych.data.images import image_io
    from diptych.errors import DataError
    from diptych.inference.open_model import load
    from diptych.methods import find

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} already exists: choose another folder with -o")
    translator = load(model, device=device, which=which, method=find(method) if method else None)
    controls = parse_controls(translator, control or [])
    for first in track(range(0, count, BATCH_SIZE), "generating"):
        images = translator.sample(min(BATCH_SIZE, count - first), seed, first, **controls)
        for number, image in enumerate(map(np.atleast_3d, images), first):
            suffix = ".png" if image.shape[-1] in (1, 3) else ".npy"
            image_io.write(out / f"{number:06d}{suffix}", image)
    typer.echo(f"{counted_images(count)} in {out}")
