"""`diptych translate manifest.txt --shard i/n`: very many images, on several machines."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.common import counted_images

if TYPE_CHECKING:
    from diptych.inference.batch.path_manifest import Job
    from diptych.inference.batch.shard import Shard
    from diptych.inference.batch.stages import Outcome
    from diptych.inference.file_translation import FileTranslation

ShardOption = Annotated[
    str | None,
    typer.Option(
        help="Translate shard I of N, from 0 to N-1, such as 0/4: one on each of N machines.",
        metavar="I/N",
        show_default="RANK and WORLD_SIZE of torchrun",
    ),
]


def is_batch(images: "Sequence[str]", shard: str | None) -> bool:
    """Return whether images are a job that goes on and has shards: a manifest, tar files, or with a shard."""
    is_rank = os.environ.get("WORLD_SIZE", "1") != "1"
    return shard is not None or is_rank or any(_is_manifest(name) or _is_tar(name) for name in images)


def translate_batch(
    translation: "FileTranslation", images: "Sequence[str]", out: Path, shard_text: str | None, overwrite: bool
) -> None:
    """Translate the images of a shard. Raises DataError for a wrong manifest, ImageError for images that failed."""
    from rich.progress import track

    from diptych.errors import ImageError, listed
    from diptych.inference.batch.failed_files import failed_files, list_of
    from diptych.inference.batch.file_jobs import translate_jobs
    from diptych.inference.batch.shard import shard_of
    from diptych.inference.batch.tar_jobs import translate_tar_files

    shard = shard_of(shard_text)
    translation = replace(translation, say=_SayOnce())
    outcomes: Iterable[Outcome]
    if any(_is_tar(name) for name in images):
        outcomes, total = translate_tar_files(shard.of(_tar_files(images)), translation, out, overwrite), None
    else:
        jobs, count = _jobs(images, out)
        outcomes, total = translate_jobs(shard.of(jobs), translation, out, overwrite), shard.size(count)
    with failed_files(out, shard) as failed:
        for outcome in track(outcomes, _title(shard), total):
            failed.add(outcome)
    typer.echo(f"{counted_images(failed.written)} in {out}")
    if failed.skipped:
        typer.echo(f"{failed.skipped} files already there, skipped")
    if failed.failed:
        lines = listed(failed.reasons, comma="\n  ", most=len(failed.reasons))
        raise ImageError(
            f"{failed.failed} images could not be translated, all are listed in {list_of(out, shard)}:\n  {lines}"
        )


def _title(shard: "Shard") -> str:
    return "translating" if shard.count == 1 else f"translating shard {shard.index}/{shard.count}"


def _jobs(images: "Sequence[str]", out: Path) -> "tuple[Iterable[Job], int]":
    """Return the jobs of a manifest, or of files and folders, and their number. Raises DataError."""
    from diptych.errors import DataError
    from diptych.inference.batch.path_manifest import Job, Manifest
    from diptych.inference.input_files import find_sources

    if any(_is_manifest(name) for name in images):
        if len(images) > 1:
            raise DataError(f"a manifest is translated alone, and there are {len(images)} names: add them to it")
        manifest = Manifest(Path(images[0]).expanduser())
        return manifest, manifest.count
    sources = find_sources(images, out).images
    return (Job(source, name) for source, name in sources.items()), len(sources)


def _is_manifest(name: str) -> bool:
    return Path(name).suffix.lower() == ".txt" and not os.path.isdir(name)


def _is_tar(name: str) -> bool:
    return Path(name).suffix.lower() == ".tar" and not os.path.isdir(name)


def _tar_files(images: "Sequence[str]") -> list[Path]:
    """Return the tar files. Raises DataError for other inputs beside them, or two of one name."""
    from diptych.errors import DataError

    paths: dict[str, Path] = {}
    for path in (Path(name).expanduser() for name in images):
        if not _is_tar(str(path)):
            raise DataError(f"{path}: not a tar file, as the others are: translate it alone")
        if path.name in paths:
            raise DataError(f"{path} and {paths[path.name]} have one name: translate them into two folders")
        paths[path.name] = path
    return list(paths.values())


class _SayOnce:
    """Prints each note once."""

    def __init__(self) -> None:
        self.notes: set[str] = set()

    def __call__(self, note: str) -> None:
        if note not in self.notes:
            self.notes.add(note)
            typer.echo(note)
