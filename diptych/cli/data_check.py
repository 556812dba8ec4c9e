"""`diptych data check`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.json_output import Json, folder_json, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from diptych.data.checks.manifest import Entry
    from diptych.data.checks.problems import Problem
    from diptych.data.checks.split_sizes import SplitSize
    from diptych.data.checks.survey import DomainFiles, Survey
    from diptych.data.config import DataConfig

EXAMPLE = "diptych data check facades/"
MAX_FILES = 5  # files listed of each problem
PIPE_WIDTH = 120  # characters in a line where the output is not a terminal
MAX_GROUPS = 3  # groups of a split by ratio that are named
MAX_FOLDERS = 8  # folders of a split that are listed one by one
CHANNELS = {1: "grey", 3: "colour"}
DEPTHS = {"uint8": "8 bit", "uint16": "16 bit", "float32": "float"}


def check(
    folder: Annotated[Path, typer.Argument(help="Folder of images.", show_default=False)],
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Read every file again, also those with an unchanged size and date."),
    ] = False,
    ignore: Annotated[
        str | None,
        typer.Option(
            help="Print the share of pixels with these colours ('[[0,0,0]]') or class numbers ('[255]') of label maps.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Print the sizes of the splits by ratio that split= would make, such as '[0.8,0.1,0.1]'.",
            show_default=False,
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="Groups of files that stay in one split, as group_by=: a regular expression on the path, or "
            "FILE.csv:COLUMN. Without --split, the groups of existing splits are checked.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a folder of images or volumes: layout, errors, methods that can train on it, the command to start with.

    No file is changed. Results are cached, so a second check of the same files is fast. Exit code 0: no errors. Exit
    code 1: errors.
    """
    from rich.console import Console

    from diptych.cli.data_check_volumes import check_volumes
    from diptych.data.checks import problems
    from diptych.data.checks.split_sizes import split_sizes
    from diptych.data.checks.survey import survey
    from diptych.data.sources.groups import table_column
    from diptych.data.sources.volume_folders import has_volumes
    from diptych.errors import ConfigError
    from diptych.system.terminal import progress_bar
    from diptych.workflows.dataset_fit import show_fits

    settings = [f"{name}={value}" for name, value in (("split", split), ("group_by", group_by)) if value]
    config = _data_config(folder, settings)
    if has_volumes(folder):
        if ignore:
            raise ConfigError("--ignore is not for volumes: leave it out")
        check_volumes(config, settings, as_json)
        return
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    with progress_bar(Console(stderr=True) if as_json else console, "scanning images") as progress:
        data = survey(folder, verify, progress, table_column(folder, group_by)[0])
        data = replace(data, settings=tuple(settings))
        sizes = split_sizes(data, config) if settings else []
        found = problems.find_problems(data)
    errors = [problem for problem in found if problem.is_error]
    warnings = [problem for problem in found if not problem.is_error]
    exit_code = 1 if errors else 0
    if as_json:
        print_json(folder_json(data, found, sizes))
        raise typer.Exit(exit_code)
    _print_contents(console, data)
    print_sizes(console, sizes)
    if ignore:
        _print_ignored(console, data, ignore)
    _print_problems(console, "errors", "bold red", errors)
    _print_problems(console, "warnings", "bold yellow", warnings)
    if not errors:
        count = f", {len(warnings)} warnings" if warnings else ""
        _print(console, f"\nno errors{count}", "bold green")
    show_fits(console, data, bool(errors))
    raise typer.Exit(exit_code)


def _data_config(folder: Path, settings: "Sequence[str]") -> "DataConfig":
    """Return the data settings of a check. Raises ConfigError for values that are not valid."""
    from diptych.data.config import DataConfig
    from diptych.settings.overrides import parse_overrides
    from diptych.settings.validate import checked

    return checked(DataConfig, {"root": str(folder), **parse_overrides(settings, {"data": DataConfig})}, "data")


def _print(console: "Console", text: str, style: str = "") -> None:
    console.print(text, style=style, soft_wrap=True)


def _print_contents(console: "Console", data: "Survey") -> None:
    """Print the layout, a table of splits and folders, the attribute tables, and the files that are not used."""
    from rich.table import Table

    from diptych.data.checks.unread_files import describe_unused
    from diptych.errors import printable

    _print(console, f"{printable(str(data.root))}: {data.layout}", "bold")
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    rows = list(_rows(data))
    has_folders = any(folder for _, folder, *_ in rows)
    for title in ("  split", *(["folder"] if has_folders else []), "count", "pixels", "values"):
        table.add_column(title, justify="right" if title == "count" else "left")
    for split, folder, *cells in rows:
        table.add_row(f"  {printable(split)}", *([printable(folder)] if has_folders else []), *cells)
    if table.row_count:
        console.print()
        console.print(table)
    lines = []
    for attributes in data.tables:
        columns = "1 value" if attributes.columns == 1 else f"{attributes.columns} values"
        split = "; gives the split" if attributes.splits else ""
        lines.append(f"{printable(attributes.file.name)}: {len(attributes.names):,} rows of {columns}{split}")
    if data.unread_files:
        lines.append(describe_unused(data.unread_files))
    if lines:
        _print(console, "\n" + "\n".join(f"  {line}" for line in lines), "dim")


def print_sizes(console: "Console", sizes: "Sequence[SplitSize]") -> None:
    """Print the number of images and groups of each split by ratio, and the names of the first groups."""
    from rich.table import Table

    from diptych.data.checks.manifest import listed_names

    if not sizes:
        return
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("  split by ratio", "count", "share", "groups", "such as"):
        table.add_column(title, justify="left" if title in ("  split by ratio", "such as") else "right")
    for size in sizes:
        share, groups = f"{100 * size.share:.1f} %", f"{len(size.groups):,}"
        table.add_row(f"  {size.split}", f"{size.images:,}", share, groups, listed_names(size.groups[:MAX_GROUPS]))
    console.print()
    console.print(table)


def _rows(data: "Survey") -> Iterator[tuple[str, str, str, str, str]]:
    """Yield split, folder, count, pixels and values: a row a folder, or one row for a split of many folders."""
    for split in dict.fromkeys(part.split for part in data.parts):
        parts = [part for part in data.parts if part.split == split]
        if len(parts) > MAX_FOLDERS:
            yield _row(data, split, f"{len(parts)} folders", parts)
        else:
            for part in parts:
                yield _row(data, split, part.domain, [part])
    for array in data.arrays:
        sizes = [f"{size:,}" for size in array.shape] or ["-"]
        yield array.split, array.name, sizes[0], " x ".join(sizes[1:]), array.dtype


def _row(data: "Survey", split: str, folder: str, parts: "Sequence[DomainFiles]") -> tuple[str, str, str, str, str]:
    entries = [entry for part in parts for entry in data.entries(part) if not entry.info.problem]
    count = sum(len(part.files) for part in parts)
    return split, folder, f"{count:,}", _pixels(entries), _values(entries)


def _pixels(entries: "Sequence[Entry]") -> str:
    """Return the sizes of images in words, as a range if there are more than two."""
    sizes = Counter((entry.info.width, entry.info.height) for entry in entries)
    if len(sizes) > 2:
        widths, heights = zip(*sizes, strict=True)
        return f"{min(widths)}-{max(widths)} x {min(heights)}-{max(heights)}, {len(sizes)} sizes"
    several = len(sizes) > 1
    return ", ".join(
        f"{width} x {height}" + (f" ({count:,})" if several else "") for (width, height), count in sizes.most_common()
    )


def _values(entries: "Sequence[Entry]") -> str:
    """Return the numbers of channels and bit depths of images in words."""
    kinds = Counter((entry.info.channels, entry.info.dtype) for entry in entries)
    several = len(kinds) > 1
    return ", ".join(
        f"{CHANNELS.get(channels, f'{channels} channels')} {DEPTHS[dtype]}" + (f" ({count:,})" if several else "")
        for (channels, dtype), count in kinds.most_common()
    )


def _print_ignored(console: "Console", data: "Survey", text: str) -> None:
    """Print the share of pixels with colours to ignore: of each split and folder, or of each half of its files."""
    from diptych.data.checks.survey import SIDE_BY_SIDE
    from diptych.data.image_columns import ImageFiles
    from diptych.errors import printable
    from diptych.evaluation.metrics.palette import parse_ignored, share_near
    from diptych.system.colours import name_of

    colours = parse_ignored(text)
    _print(console, f"\npixels of the colours to ignore ({' '.join(map(name_of, colours))})", "bold")
    for part in data.parts:
        files = tuple(file for file in part.files if not data.manifest.entry_of(file).info.problem)
        if not files:
            continue
        halves = {"left": 0, "right": 1} if data.layout == SIDE_BY_SIDE else {part.domain: None}
        for name, half in halves.items():
            share = share_near(ImageFiles(files, half), colours)
            value = f"no images of {len(colours[0])} channels" if share is None else f"{100 * share:.2g} %"
            _print(console, f"  {printable(part.split)} {printable(name)}".rstrip() + f": {value}")


def _print_problems(console: "Console", title: str, style: str, found: "Sequence[Problem]") -> None:
    """Print each problem with the first of its files and the remedy."""
    from diptych.errors import printable

    if not found:
        return
    _print(console, f"\n{title}", style)
    for problem in found:
        _print(console, f"  {len(problem.names):,} x {printable(problem.kind)}")
        for name in problem.names[:MAX_FILES]:
            _print(console, f"      {printable(name)}")
        if len(problem.names) > MAX_FILES:
            _print(console, f"      and {len(problem.names) - MAX_FILES:,} more")
        _print(console, f"      -> {problem.remedy}", "dim")
