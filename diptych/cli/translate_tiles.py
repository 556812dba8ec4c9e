"""`diptych translate --tile`: large images, in bounded memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from diptych.inference.image_translator import ImageTranslator
    from diptych.inference.sampled_statistics import Foreground, Progress
    from diptych.inference.tiles import StatisticsChoice, TileOptions


def tile_options(tile: str | None, statistics: str | None, foreground: str | None) -> "TileOptions":
    """Return the options `--tile`, `--statistics` and `--foreground` as checked values. Raises ConfigError."""
    from diptych.errors import ConfigError
    from diptych.inference.tiles import TileOptions

    if tile is not None and tile != "auto" and not tile.isdecimal():
        raise ConfigError(f"--tile {tile}: expected auto, or the height and width of a tile in pixels")
    given = statistics or "sampled"
    chosen: StatisticsChoice = "sampled" if given == "sampled" else "whole" if given == "whole" else Path(given)
    mask: Foreground = Path(foreground) if foreground and foreground != "auto" else "auto" if foreground else None
    return TileOptions(int(tile) if tile and tile != "auto" else None, statistics=chosen, foreground=mask)


def translate_files(
    translator: "ImageTranslator",
    jobs: Mapping[Path, Path],
    options: "TileOptions",
    controls: Mapping[str, Any],
) -> None:
    """Translate each large file to its target, with a progress bar. Raises ImageError or ConfigError."""
    from diptych.inference.large_files import translate_large
    from diptych.inference.translator import Translator

    assert isinstance(translator, Translator)  # ONNX files are refused before
    for source, target in jobs.items():
        with _progress_bar(source.name) as progress:
            translate_large(
                translator,
                source,
                target,
                tile=options.tile,
                samples=options.samples,
                statistics=options.statistics,
                foreground=options.foreground,
                progress=progress,
                **controls,
            )
        typer.echo(f"{target}")


def find_large(given: Sequence[str], out: Path, tile: str | None, suffix: str | None) -> dict[Path, Path]:
    """Return the large images among files and folders, with the file of each translation; empty if there are none.

    With `--tile` all images are taken as large. A name of an image format after `-o` is that of the output of one
    image; else `-o` is a folder. Raises DataError if large images are mixed with others.
    """
    from diptych.errors import DataError, listed
    from diptych.inference.formats.opening import is_large_format
    from diptych.inference.input_files import find_sources, large_files_below

    large: dict[Path, Path] = {}
    others = []
    for name in given:
        path = Path(name).expanduser()
        if is_large_format(path):
            large[path] = Path(path.name)
            continue
        found = large_files_below(path, out) if path.is_dir() else {}
        large |= found
        if not found or find_sources([name], out, may_be_empty=True).images:
            others.append(name)
    sources = dict(large)
    if not large and (tile is None or not _is_file_name(out)):
        if tile is None:
            return {}
        sources = find_sources(given, out).images
    elif others and tile is None:
        raise DataError(
            f"{next(iter(large))} is translated in tiles, images of {listed(others)} are not: give --tile auto, or "
            "translate it alone"
        )
    elif others:
        sources |= find_sources(others, out).images
    if _is_file_name(out):
        if len(sources) > 1:
            raise DataError(f"-o {out} is the name of one image, and there are {len(sources)}: give a folder")
        return dict.fromkeys(sources, out)
    return {source: out / _output_name(name, suffix) for source, name in sources.items()}


def _output_name(name: Path, suffix: str | None) -> Path:
    """Return the name of a translation: that of the source, with another suffix if that format is only read."""
    from diptych.inference.formats.opening import READ_ONLY, format_of

    suffix = suffix or (".ome.tif" if format_of(name) in READ_ONLY else None)
    return name.with_suffix(suffix) if suffix else name


def _is_file_name(out: Path) -> bool:
    """Return whether `-o` names an image file."""
    from diptych.errors import ImageError
    from diptych.inference.formats.opening import format_of

    if out.is_dir() and not out.name.endswith(".zarr"):
        return False
    try:
        format_of(out)
    except ImageError:
        return False
    return True


def planned(large: Mapping[Path, Path], overwrite: bool, skip_existing: bool) -> dict[Path, Path]:
    """Return the large images that are to be translated. Raises DataError for an output that exists."""
    from diptych.errors import DataError

    jobs = {}
    for source, target in large.items():
        if not target.exists() or overwrite:
            jobs[source] = target
        elif not skip_existing:
            raise DataError(f"{target} already exists; give --overwrite, --skip-existing, or another name with -o")
    return jobs


def refuse_options(draws_grid: bool, alpha: str) -> None:
    """Raise ConfigError for options that tiles do not have."""
    from diptych.errors import ConfigError

    if draws_grid:
        raise ConfigError("--all-domains and --styles write sample grids, which have no tiles: leave them out")
    if alpha == "keep":
        raise ConfigError("--alpha keep is not supported with tiles: leave it out")


@contextmanager
def _progress_bar(name: str) -> Iterator["Progress"]:
    """Yield a function that shows what is done, and the time left."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as bar:
        task = bar.add_task(name, total=None)
        shown = name

        def progress(what: str, done: int, total: int) -> None:
            nonlocal shown
            if what != shown:  # a new phase: tiles of a former process do not count for the speed
                shown = what
                bar.reset(task, description=f"{name}: {what}", total=total, completed=done)
            bar.update(task, completed=done, total=total)

        yield progress
