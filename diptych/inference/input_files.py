"""Input images of a command: files, folders with all files below them, and glob patterns."""

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path

from diptych.data.images import image_io
from diptych.data.sources.folders import file_suffix, files_below, is_image_name
from diptych.errors import DataError


@dataclass
class InputFiles:
    """`images`: files and the relative paths of their translations. `others`: counts of files that are not images."""

    images: dict[Path, Path] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self.others.items()))


def find_sources(given: Sequence[str], out: Path, may_be_empty: bool = False) -> InputFiles:
    """Return the images among the files, folders and patterns of `given`, without those in the folder `out`.

    The relative path of a file starts below the given folder or the fixed part of the pattern. Raises DataError if
    there are no images, unless `may_be_empty`.
    """
    files = InputFiles()
    for argument in given:
        for file, name in _matches_of(argument, out):
            if is_image_name(file.name):
                files.images[file] = name
            else:
                files.others[file_suffix(file.name)] += 1
    if not files.images and not may_be_empty:
        others = f": there are {files}; Diptych reads {', '.join(sorted(image_io.SUFFIXES))}" if files.others else ""
        raise DataError(f"no images among {', '.join(given)}{others}")
    return files


def names_a_file(out: Path) -> bool:
    """Return whether an output is the file of an image, not a folder. Raises DataError for any other file."""
    if out.is_dir() or out.suffix.lower() not in image_io.SUFFIXES:
        if out.exists() and not out.is_dir():
            raise DataError(f"-o {out}: is a file, and no image by its name: give a folder, or another name")
        return False
    return True


def for_one_file(files: InputFiles, out: Path) -> InputFiles:
    """Return the only image with the name of `out` for its translation. Raises DataError if there are several."""
    if len(files.images) > 1:
        raise DataError(f"-o {out} is the name of one image, and there are {len(files.images)}: give a folder")
    return InputFiles({source: Path(out.name) for source in files.images}, files.others)


def check_output_folder(folder: Path) -> None:
    """Raise DataError if a folder for outputs cannot be made, before anything is computed for it."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise DataError(f"-o {folder}: cannot be made, as {there} is no folder to write to; choose another")


def large_files_below(folder: Path, out: Path) -> dict[Path, Path]:
    """Return the files below a folder that only `formats.opening` reads, such as slides, with their relative paths.

    TIFF files, and all in folders such as zarr's, are left out.
    """
    from diptych.inference.formats.opening import SUFFIXES

    only = tuple(suffix for suffix in SUFFIXES if not suffix.endswith((*image_io.SUFFIXES, ".zarr")))
    found = files_below(folder, None if folder.resolve().is_relative_to(out.resolve()) else out)
    return {file: file.relative_to(folder) for file in found if file.name.lower().endswith(only)}


def _matches_of(given: str, out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each file of one argument and its path below the folder or below the fixed part of the pattern."""
    path = Path(given).expanduser()
    if os.path.isdir(path):  # false where `path.is_dir()` raises, as for a name that is too long
        yield from _matching(path, ("**",), out)
    elif os.path.exists(path):
        if not is_image_name(path.name):
            reads = ", ".join(sorted(image_io.SUFFIXES))
            raise DataError(f"{path}: not an image by its name; Diptych reads {reads}")
        yield path, Path(path.name)
    else:
        fixed = tuple(takewhile(lambda part: not glob.has_magic(part), path.parts))
        matches = list(_matching(Path(*fixed), path.parts[len(fixed) :], out))
        if not matches:
            raise DataError(f"{given}: no such image or folder, and no file matches it as a pattern")
        yield from matches


def _matching(root: Path, pattern: tuple[str, ...], out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the files below `root` whose path relative to `root` matches the pattern."""
    excluded = None if root.resolve().is_relative_to(out.resolve()) else out
    depth = -1 if "**" in pattern else len(pattern)
    for file in files_below(root, excluded, pattern, depth):
        name = file.relative_to(root)
        if _matches(name.parts, pattern):
            yield file, name


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Return whether a path matches a pattern part by part; `**` matches any number of folders."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        deeper = pattern[1:] or ("*",)
        return any(_matches(parts[start:], deeper) for start in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
