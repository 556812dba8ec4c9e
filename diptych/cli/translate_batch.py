"""`diptych translate manifest.txt --shard i/n` and `--engine ray`: very many images, on several machines."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diptych.cli.common import counted_images

if TYPE_CHECKING:
    from diptych.inference.batch.shard import Shard
    from diptych.inference.file_translation import FileTranslation
    from diptych.inference.open_model import ModelSource

EngineName = Literal["local", "ray"]
ShardOption = Annotated[
    str | None,
    typer.Option(
        help="Translate shard I of N, from 0 to N-1, such as 0/4: one on each of N machines.",
        metavar="I/N",
        show_default="RANK and WORLD_SIZE of torchrun",
    ),
]
Engine = Annotated[
    EngineName,
    typer.Option(
        help="Where images are translated. local: this process. ray: actors of a Ray cluster, or on this machine."
    ),
]
Actors = Annotated[
    int | None,
    typer.Option(min=1, help="Number of Ray actors.", show_default="one for each GPU, else for each CPU core"),
]


@dataclass(frozen=True)
class BatchOptions:
    """The options `--shard`, `--engine` and `--actors`."""

    shard: str | None
    engine: EngineName
    actors: int | None

    def __post_init__(self) -> None:
        from diptych.errors import ConfigError

        if self.engine == "ray" and (self.shard is not None or _is_rank()):
            raise ConfigError("--engine ray shares the images itself: leave out --shard and torchrun")
        if self.engine != "ray" and self.actors is not None:
            raise ConfigError("--actors is for --engine ray: add it, or leave out --actors")

    def are_for(self, images: Sequence[str]) -> bool:
        """Return whether images are a job that goes on: a manifest, tar or Parquet files, or in shards or on Ray."""
        from diptych.inference.batch.work import is_container

        return self.shard is not None or self.engine == "ray" or _is_rank() or any(map(is_container, images))


def _is_rank() -> bool:
    return os.environ.get("WORLD_SIZE", "1") != "1"


def check_extras(options: BatchOptions, device: str) -> None:
    """Raise ConfigError if Ray is asked for and is not installed, or for one GPU of several actors."""
    from diptych.errors import ConfigError

    if options.engine == "ray":
        from diptych.inference.batch.ray_engine import import_ray

        if device.startswith("cuda:"):
            raise ConfigError(f"--device {device}: Ray gives each actor a GPU: --device cuda, or leave it out")
        import_ray()


def translate_batch(
    translation: "FileTranslation",
    model: "ModelSource",
    images: Sequence[str],
    out: Path,
    options: BatchOptions,
    overwrite: bool,
) -> None:
    """Translate the images of a shard, or all on Ray. Raises DataError for a wrong manifest, ImageError for failures.

    `model` is that of the translation. A process of torchrun only prints failures.
    """
    from rich.progress import track

    from diptych.errors import ImageError, listed
    from diptych.inference.batch.failed_files import failed_files, list_of
    from diptych.inference.batch.file_jobs import with_scale_checked
    from diptych.inference.batch.ray_engine import translate_on_ray
    from diptych.inference.batch.shard import shard_of
    from diptych.inference.batch.work import find_work

    shard = shard_of(options.shard)
    translation = replace(translation, say=_SayOnce())
    work = find_work(images, out).of(shard)
    if work.images is not None:
        work = replace(work, jobs=with_scale_checked(work.jobs, translation))
    if options.engine == "ray":
        outcomes = translate_on_ray(work, translation, model, out, overwrite, options.actors)
    else:
        outcomes = work.translate(translation, out, overwrite)
    with failed_files(out, shard) as failed:
        for outcome in track(outcomes, _title(shard), work.images):
            failed.add(outcome)
    typer.echo(f"{counted_images(failed.written)} in {out}")
    if failed.skipped:
        typer.echo(f"{failed.skipped} files already there, skipped")
    if failed.failed:
        lines = listed(failed.reasons, comma="\n  ", most=len(failed.reasons))
        problem = f"{failed.failed} images could not be translated, all are listed in {list_of(out, shard)}:\n  {lines}"
        if not _is_rank():
            raise ImageError(problem)
        typer.echo(problem, err=True)  # torchrun ends all processes when one of them fails


def _title(shard: "Shard") -> str:
    return "translating" if shard.count == 1 else f"translating shard {shard.index}/{shard.count}"


class _SayOnce:
    """Prints each note once."""

    def __init__(self) -> None:
        self.notes: set[str] = set()

    def __call__(self, note: str) -> None:
        if note not in self.notes:
            self.notes.add(note)
            typer.echo(note)
