"""`diptych translate` of volumes: NIfTI, DICOM series, HDF5 and zarr."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from diptych.inference.image_translator import ImageTranslator

MAX_FAILURES = 20  # volumes that could not be translated, listed in the error


def find_volumes(given: Sequence[str], out: Path, suffix: str | None) -> dict[Path, Path]:
    """Return the volumes among files and folders, except for zarr arrays, with the file or folder of each translation.

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
    if suffix:
        volumes = {path: name.with_name(name_of(name) + suffix) for path, name in volumes.items()}
    targets = {path: out / name for path, name in volumes.items()}
    if len({*targets.values()}) < len(targets):
        raise DataError("two of the volumes have one name: translate them into two folders")
    return targets


def _volumes_of(argument: str, out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the volumes of one argument, and the relative paths of their translations."""
    from diptych.data.sources.volume_folders import is_series, volumes_in
    from diptych.data.volumes.volume import array_path, is_volume_name
    from diptych.inference.input_files import find_sources

    path = Path(argument).expanduser()
    file, inner = array_path(path)
    if inner or (is_volume_name(path.name) and path.suffix.lower() != ".zarr"):
        yield path, Path(file.name)
    elif path.is_dir() and is_series(path):
        yield path, Path(path.resolve().name)
    elif path.is_dir() and path.suffix.lower() != ".zarr":
        found_volumes = volumes_in(path)
        if found_volumes and find_sources([argument], out, may_be_empty=True).images:
            return
        for found in found_volumes:
            if not found.resolve().is_relative_to(out.resolve()) or path.resolve() == out.resolve():
                yield found, found.relative_to(path)


def translates_volumes(translator: "ImageTranslator", controls: Mapping[str, Any]) -> bool:
    """Return whether a model was trained on volumes: it takes zarr arrays as volumes, others take them as images."""
    source = translator.adapter(controls).source
    return source is not None and source.axis is not None


def translate_volumes(
    translator: "ImageTranslator", controls: Mapping[str, Any], jobs: Mapping[Path, Path], slice_statistics: bool
) -> None:
    """Translate each volume to its target, with a progress bar. Raises ImageError that lists all problems."""
    from rich.console import Console

    from diptych.errors import ImageError, listed
    from diptych.inference.translator import Translator
    from diptych.inference.volume_translation import StatisticsOf, translate_volume
    from diptych.system.terminal import progress_bar

    assert isinstance(translator, Translator)  # ONNX files are refused before
    failures = []
    for source, target in jobs.items():
        with progress_bar(Console(stderr=True), source.name) as progress:
            try:
                over: StatisticsOf = "slice" if slice_statistics else "volume"
                slices = translate_volume(translator, source, target, controls, over, progress)
                typer.echo(f"{target}: {slices} slices")
            except ImageError as error:
                failures.append(str(error))
    if len(failures) == 1:
        raise ImageError(failures[0])
    if failures:
        raise ImageError(f"{len(failures)} of {len(jobs)} volumes:\n  " + listed(failures, MAX_FAILURES, "\n  "))
