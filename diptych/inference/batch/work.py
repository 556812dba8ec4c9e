"""The files of a command, and how each kind is translated: images, tar files or Parquet files."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diptych.errors import DataError
from diptych.inference.batch import parquet_files, path_manifest, tar_files
from diptych.inference.batch.file_jobs import translate_jobs
from diptych.inference.batch.parquet_files import translate_parquet_files
from diptych.inference.batch.path_manifest import Job, Manifest
from diptych.inference.batch.shard import Shard
from diptych.inference.batch.stages import Outcome
from diptych.inference.batch.tar_jobs import translate_tar_files
from diptych.inference.file_translation import FileTranslation
from diptych.inference.input_files import find_sources

Translate = Callable[[Iterable[Job], FileTranslation, Path, bool], Iterator[Outcome]]
IMAGES = "image"
KINDS: Mapping[str, Translate] = {
    IMAGES: translate_jobs,
    tar_files.SUFFIX: translate_tar_files,
    parquet_files.SUFFIX: translate_parquet_files,
}


@dataclass(frozen=True)
class Work:
    """Files of one kind, a key of `KINDS`, and their number."""

    kind: str
    jobs: Iterable[Job]
    count: int

    @property
    def images(self) -> int | None:
        """The number of images; None for files of many images."""
        return self.count if self.kind == IMAGES else None

    def of(self, shard: Shard) -> "Work":
        """Return the part of a shard."""
        return replace(self, jobs=shard.of(self.jobs), count=shard.size(self.count))

    def translate(self, translation: FileTranslation, out: Path, overwrite: bool) -> Iterator[Outcome]:
        """Yield the outcomes in this process. Raises DataError or ConfigError."""
        return KINDS[self.kind](self.jobs, translation, out, overwrite)


def is_container(name: str) -> bool:
    """Return whether a name is that of a file of many images, or of a manifest."""
    return _is_file(name, path_manifest.SUFFIX) or any(_is_file(name, kind) for kind in KINDS)


def find_work(given: Sequence[str], out: Path) -> Work:
    """Return the work of a manifest, of tar or Parquet files, or of images, folders and patterns. Raises DataError."""
    if any(_is_file(name, path_manifest.SUFFIX) for name in given):
        if len(given) > 1:
            raise DataError(f"a manifest is translated alone, and there are {len(given)} names: add them to it")
        manifest = Manifest(Path(given[0]).expanduser())
        return Work(IMAGES, manifest, manifest.count)
    for kind in (tar_files.SUFFIX, parquet_files.SUFFIX):
        if any(_is_file(name, kind) for name in given):
            jobs = _containers(given, kind)
            return Work(kind, jobs, len(jobs))
    sources = find_sources(given, out).images
    return Work(IMAGES, [Job(source, name) for source, name in sources.items()], len(sources))


def _is_file(name: str, suffix: str) -> bool:
    return Path(name).suffix.lower() == suffix and not os.path.isdir(name)


def _containers(given: Sequence[str], kind: str) -> list[Job]:
    """Return the files of one kind. Raises DataError for other inputs beside them, or two of one name."""
    paths: dict[str, Path] = {}
    for path in (Path(name).expanduser() for name in given):
        if not _is_file(str(path), kind):
            raise DataError(f"{path}: not a {kind} file, as the others are: translate it alone")
        if path.name in paths:
            raise DataError(f"{path} and {paths[path.name]} have one name: translate them into two folders")
        paths[path.name] = path
    return [Job(path, Path(name)) for name, path in paths.items()]
