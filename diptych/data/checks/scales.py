"""Folders that hold the same images at two sizes, such as low and high resolution."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych.data.checks.duplicates import is_same_image
from diptych.data.images import image_io
from diptych.data.sources.file_names import matching_keys, names_agree
from diptych.errors import DataError, ImageError

COMPARED = 9  # images of a folder
FOLDERS = 7  # that are compared with the first


@dataclass(frozen=True)
class Scale:
    """`large` holds the images of `small`, `factor` times as high and wide."""

    small: Path
    large: Path
    factor: float

    def __str__(self) -> str:
        return f"{self.small.name}/ and {self.large.name}/ hold the same images at two sizes, 1:{self.factor:g}"


def scale_of(first: Sequence[Path], second: Sequence[Path]) -> Scale | None:
    """Return the scale between two folders, if their first images have the same names and content but not size."""
    if not names_agree([first, second]):
        return None
    ours, theirs = (dict(zip(matching_keys(files), files, strict=True)) for files in (first, second))
    factors = [_factor(ours[key], theirs[key]) for key in sorted(ours.keys() & theirs.keys())[:COMPARED]]
    known = [factor for factor in factors if factor is not None]
    if not known or 1.0 in known or len(set(known)) > 1:
        return None
    a, b = first[0].parent, second[0].parent
    return Scale(a, b, known[0]) if known[0] > 1 else Scale(b, a, round(1 / known[0], 2))


def scale_among(folders: Sequence[Sequence[Path]]) -> Scale | None:
    """Return the first scale between the first folder and another one."""
    first, *others = folders or [()]
    return next((found for other in others[:FOLDERS] if (found := scale_of(first, other))), None)


def check_one_size(files: Sequence[Path]) -> None:
    """Raise DataError if `files` are the same images at two sizes, in two folders."""
    folders: dict[Path, list[Path]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file)
    if found := scale_among(list(folders.values())):
        raise DataError(
            f"{found}, and this method takes one set of images: give the larger alone, {found.large} "
            f"(super-resolution makes its own low-resolution images)"
        )


def _factor(a: Path, b: Path) -> float | None:
    """Return how many times as large as in `a` the same image is in `b`; 1 for other images; None if unreadable."""
    try:
        small, large = image_io.probe(a), image_io.probe(b)
    except ImageError:
        return None
    factor = large.width / small.width
    same_shape = abs(large.height - factor * small.height) <= max(1, factor)  # up to a pixel of the smaller
    return round(factor, 2) if factor != 1 and same_shape and is_same_image(a, b) else 1.0
