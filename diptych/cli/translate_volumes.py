"""`diptych translate` of volumes: NIfTI, DICOM series, HDF5 and zarr."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from diptych.inference.image_translator import ImageTranslator

MAX_FAILURES = 20  # volumes that could not be translated, listed in the error


def find_volumes(given: Sequence[str], out: Path, suffix: str | None) -> dict[Path, Path]:
    """Return the volumes among files and folders without images, with the file or folder of each translation.

    `out` is the file of one volume if its name is that of a volume; else it is a folder. Empty if there are no volumes.
    Raises DataError for volumes mixed with other files.
    """
    from diptych.data.volumes.nifti import name_of
    from diptych.data.volumes.volume import is_volume_name
    from diptych.errors import DataError

    volumes: dict[Path, Path] = {}
    others = []
    for argument in given:
        found = dict(_volumes_of(argument, out))
        volumes |= found
        if not found:
            others.append(argument)
    if not volumes:
        return {}
    if others:
        raise DataError(f"{next(iter(volumes))} is a volume, and {others[0]} is not: translate them by two commands")
    if is_volume_name(out.name) and not out.is_dir():
        if len(volumes) > 1:
            raise DataError(f"-o {out} is the name of one volume, and there are {len(volumes)}: give a folder")
        return dict.fromkeys(volumes, out)
    targets = {
        path: out / (name.with_name(name_of(name) + suffix) if suffix else name) for path, name in volumes.items()
    }
    if len({*targets.values()}) < len(targets):
        raise DataError("two of the volumes have one name: translate them into two folders")
    return targets


def _volumes_of(argument: str, out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the volumes of one argument, and the relative paths of their translations."""
    from diptych.data.sources.volume_folders import is_series, volumes_in
    from diptych.data.volumes.volume import array_path, is_volume_name

    path = Path(argument).expanduser()
    file, inner = array_path(path)
    if inner or (is_volume_name(path.name) and _is_three_dimensional(path)):
        yield path, Path(file.name)
    elif path.is_dir() and is_series(path):
        yield path, Path(path.resolve().name)
    elif path.is_dir() and not path.name.endswith(".zarr"):
        for found in volumes_in(path):
            if not found.resolve().is_relative_to(out.resolve()) or path.resolve() == out.resolve():
                yield found, found.relative_to(path)


def _is_three_dimensional(path: Path) -> bool:
    """Return whether a path is a volume: not a zarr array of an image, which is translated in tiles."""
    from diptych.data.volumes.volume import open_volume
    from diptych.errors import ImageError

    if not path.name.endswith(".zarr") or not path.is_dir():
        return True
    try:
        return min(open_volume(path).geometry.shape) > 4  # channels of an image
    except ImageError:
        return False


def translate_volumes(
    translator: "ImageTranslator", controls: Mapping[str, Any], jobs: Mapping[Path, Path], slice_statistics: bool
) -> None:
    """Translate each volume to its target, with a progress bar. Raises ImageError that lists all problems."""
    from rich.console import Console

    from diptych.errors import ImageError, listed
    from diptych.inference.translator import Translator
    from diptych.inference.volume_translation import translate_volume
    from diptych.system.terminal import progress_bar

    assert isinstance(translator, Translator)  # ONNX files are refused before
    failures = []
    for source, target in jobs.items():
        with progress_bar(Console(stderr=True), source.name) as progress:
            try:
                over = "slice" if slice_statistics else "volume"
                slices = translate_volume(translator, source, target, controls, over, progress)
                typer.echo(f"{target}: {slices} slices")
            except ImageError as error:
                failures.append(str(error))
    if len(failures) == 1:
        raise ImageError(failures[0])
    if failures:
        raise ImageError(f"{len(failures)} of {len(jobs)} volumes:\n  " + listed(failures, MAX_FAILURES, "\n  "))
