"""The images that a person names to be translated: files, folders with all below them, and patterns."""

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
class Sources:
    """`images`: each file with the name that its translation keeps. `others`: files of kinds that are not read."""

    images: dict[Path, Path] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self.others.items()))


def sources(given: Sequence[str], out: Path) -> Sources:
    """Find all images of `given`, by the rule of `data.folders`; what lies in the folder `out` is none of them.

    Names are paths below a folder or a pattern's fixed part, else the file's own. DataError if there are no images.
    """
    found = Sources()
    for each in given:
        for file, name in _found(each, out):
            if is_image_name(file.name):
                found.images[file] = name
            else:
                found.others[file_suffix(file.name)] += 1
    if not found.images:
        there = f": there are {found}; Diptych reads {', '.join(sorted(image_io.SUFFIXES))}" if found.others else ""
        raise DataError(f"no images among {', '.join(given)}{there}")
    return found


def _found(given: str, out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each file that `given` means, with its path below a folder or below the fixed part of a pattern."""
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
        found = list(_matching(Path(*fixed), path.parts[len(fixed) :], out))
        if not found:
            raise DataError(f"{given}: no such image, folder or pattern with images")
        yield from found


def _matching(root: Path, pattern: tuple[str, ...], out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the files below `root` whose path there matches."""
    without = None if root.resolve().is_relative_to(out.resolve()) else out
    depth = -1 if "**" in pattern else len(pattern)
    for file in files_below(root, without, pattern, depth):
        name = file.relative_to(root)
        if _matches(name.parts, pattern):
            yield file, name


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Return whether a path matches, part by part, where `**` stands for any number of folders."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        deeper = pattern[1:] or ("*",)
        return any(_matches(parts[start:], deeper) for start in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
