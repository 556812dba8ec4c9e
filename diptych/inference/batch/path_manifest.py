"""Manifests: text files with one path of an image on each line, read line by line."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from diptych.data.images import image_io
from diptych.data.sources.folders import is_image_name
from diptych.errors import DataError, shown

SUFFIX = ".txt"
MAX_LINE = 4096  # bytes, the longest path of Linux
MAX_LINES = 100_000_000  # 8 bytes of memory for each


class Job(NamedTuple):
    """A file to translate, and the path of its translation relative to the folder of outputs."""

    source: Path
    name: Path


class Manifest:
    """The jobs of a manifest. Nothing but the numbers of `check` is held, so its length is limited by `MAX_LINES`.

    Relative paths start at the current folder. A translation has the path of its source: `a/b.png` becomes
    `OUT/a/b.png`, and `/data/b.png` becomes `OUT/data/b.png`. Empty lines are skipped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = self._check()

    def __iter__(self) -> Iterator[Job]:
        """Yield the jobs in the order of the lines. DataError for a line that is not the path of an image."""
        return (job for _, job in self._lines())

    def _check(self) -> int:
        """Return the number of jobs. Raises DataError for a wrong line, or for two that would have one translation."""
        keys = np.fromiter((_key(job) for _, job in self._lines()), np.uint64)
        if not keys.size:
            raise DataError(f"{self.path}: no paths in it; write the path of one image on each line")
        values, counts = np.unique(keys, return_counts=True)
        repeated = set(values[counts > 1][:1].tolist())
        if repeated:
            (first, job), (second, other) = [(line, job) for line, job in self._lines() if _key(job) in repeated][:2]
            raise DataError(
                f"{self.path}: lines {first} and {second}, {job.source} and {other.source}, could get one name: "
                "remove one, or translate them into two folders"
            )
        return int(keys.size)

    def _lines(self) -> Iterator[tuple[int, Job]]:
        """Yield the number and job of each line that is not empty."""
        try:
            with self.path.open("rb") as file:
                number = 0
                while line := file.readline(MAX_LINE + 1):
                    number += 1
                    if len(line) > MAX_LINE:
                        raise DataError(f"{self.path}: line {number} is longer than {MAX_LINE} bytes: not a path")
                    if number > MAX_LINES:
                        raise DataError(f"{self.path}: more than {MAX_LINES:,} lines; split it into several files")
                    text = os.fsdecode(line.rstrip(b"\r\n"))
                    if text:
                        yield number, self._job(text, number)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror}); check the path") from error

    def _job(self, text: str, number: int) -> Job:
        path = PurePath(text)
        if "\0" in text or ".." in path.parts:
            raise DataError(f"{self.path}: line {number}: {shown(text)}: give a path without '..' and NUL")
        if not is_image_name(path.name):
            reads = ", ".join(sorted(image_io.SUFFIXES))
            raise DataError(
                f"{self.path}: line {number}: {shown(text)}: not an image by its name; Diptych reads {reads}"
            )
        return Job(Path(path), Path(path.relative_to(path.anchor)))


def _key(job: Job) -> int:
    """Return a hash of the name of the translation, without its suffix, which the model may change."""
    name = os.fsencode(job.name.with_suffix(""))
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
