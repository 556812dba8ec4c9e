"""Folders that hold the same images at two sizes, such as low and high resolution."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych.data.checks.duplicates import is_same_image
from diptych.data.images import image_io
from diptych.data.sources.file_names import matching_keys, names_agree
from diptych.errors import DataError, ImageError

MAX_IMAGES = 9  # images compared in each pair of folders
MAX_FOLDERS = 7  # folders compared with the first one


@dataclass(frozen=True)
class Scale:
    """The folder `large` has the images of `small`, `factor` times as large on each side."""

    small: Path
    large: Path
    factor: float

    def __str__(self) -> str:
        return f"{self.small.name}/ and {self.large.name}/ hold the same images at two sizes, 1:{self.factor:g}"


def scale_of(first: Sequence[Path], second: Sequence[Path]) -> Scale | None:
    """Return the scale between two folders with the same names and images at two sizes; else None."""
    if not names_agree([first, second]):
        return None
    files_a, files_b = (dict(zip(matching_keys(files), files, strict=True)) for files in (first, second))
    factors = [_factor(files_a[key], files_b[key]) for key in sorted(files_a.keys() & files_b.keys())[:MAX_IMAGES]]
    known = [factor for factor in factors if factor is not None]
    if not known or 1.0 in known or len(set(known)) > 1:
        return None
    a, b = first[0].parent, second[0].parent
    return Scale(a, b, known[0]) if known[0] > 1 else Scale(b, a, round(1 / known[0], 2))


def scale_among(folders: Sequence[Sequence[Path]]) -> Scale | None:
    """Return the scale between the first folder and the first other one that has the same images; else None."""
    first, *others = folders or [()]
    scales = (scale_of(first, other) for other in others[:MAX_FOLDERS])
    return next((scale for scale in scales if scale), None)


def check_one_size(files: Sequence[Path]) -> None:
    """Raise DataError if `files` are two folders of the same images at two sizes."""
    folders: dict[Path, list[Path]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file)
    if scale := scale_among(list(folders.values())):
        raise DataError(
            f"{scale}, but this method needs one set of images: use only the larger ones, {scale.large} "
            f"(super-resolution methods downsample them themselves)"
        )


def _factor(a: Path, b: Path) -> float | None:
    """Return the size of image `b` relative to `a`; 1 for different images, None if one cannot be read."""
    try:
        small, large = image_io.probe(a, "values"), image_io.probe(b, "values")
    except ImageError:
        return None
    factor = large.width / small.width
    same_shape = abs(large.height - factor * small.height) <= max(1, factor)  # within one pixel of the smaller image
    return round(factor, 2) if factor != 1 and same_shape and is_same_image(a, b) else 1.0
