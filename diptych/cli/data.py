"""`diptych data check`: what a folder holds, what is wrong with it, and the command to start with; `data get`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.json_output import Json, folder_json, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from diptych.data.checks.manifest import Entry
    from diptych.data.checks.problems import Problem
    from diptych.data.checks.survey import Survey

app = typer.Typer(no_args_is_help=True, help="Look at a data set before training on it, or fetch a published one.")
NAMED = 5  # files of each kind of trouble
WIDTH = 120  # of a pipe
SIDES = 8  # folders of a split that have a line of their own
CHANNELS = {1: "grey", 3: "colour"}
STARTS = {
    "mnist": "diptych judge train classifier --data {data} crop_size=32 load_size=34 flip=false batch_size=128 -o judges/digits",
    "svhn": "diptych train dtn-svhn --data {data} target_root=mnist.npz -o runs/numbers",
    "celeba": "diptych train stargan-celeba --data {data} table=list_attr_celeba.txt -o runs/faces",
    "cityscapes": "diptych train pix2pix --data {data} direction=b2a epochs=200 -o runs/streets",
}  # the command after `data get`
DEPTHS = {"uint8": "8 bit", "uint16": "16 bit", "float32": "float"}


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="a folder of images", show_default=False)],
    verify: Annotated[
        bool, typer.Option("--verify", help="read every file again: finds content that changed behind its date")
    ] = False,
    ignore: Annotated[
        str | None,
        typer.Option(
            help="say how many pixels have these colours, as [[0,0,0]], or class numbers, as [255], of label maps",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what lies in a folder, all that is wrong with it, which methods fit, and how to start. Changes nothing.

    The exit code is 0 if nothing is wrong, else 1. A second look at the same files is fast.
    """
    from rich.console import Console

    from diptych.data.checks import problems
    from diptych.data.checks.survey import survey
    from diptych.system.terminal import progress_bar
    from diptych.workflows.dataset_fit import show_fits

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDTH
    with progress_bar(Console(stderr=True) if as_json else console, "looking at images") as progress:
        found = survey(folder, verify, progress)
        troubles = problems.find_problems(found)
    wrong, doubtful = ([fault for fault in troubles if fault.is_error == known] for known in (True, False))
    if as_json:
        print_json(folder_json(found, troubles))
        raise typer.Exit(1 if wrong else 0)
    _show_contents(console, found)
    if ignore:
        _show_ignored(console, found, ignore)
    _show_troubles(console, "wrong", "bold red", wrong)
    _show_troubles(console, "worth a look", "bold yellow", doubtful)
    if not wrong:
        _say(console, "\nnothing is wrong" + (f", {len(doubtful)} worth a look" if doubtful else ""), "bold green")
    show_fits(console, found, bool(wrong))
    raise typer.Exit(1 if wrong else 0)


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="mnist, svhn, celeba or cityscapes", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to fetch it into")] = Path("data"),
) -> None:
    """Fetch a published data set by torchvision, check it, and lay it out as methods take it.

    Where the network is closed, it says which files to put where; Cityscapes, behind a registration, needs that anyhow.
    """
    from diptych.data.sources import download as known

    data = known.download(name, out)
    typer.echo(f"{data}: {known.DATASETS[name].title}\n{STARTS[name].format(data=data)}")


def _say(console: "Console", text: str, style: str = "") -> None:
    console.print(text, style=style, soft_wrap=True)


def _show_contents(console: "Console", found: "Survey") -> None:
    from rich.table import Table

    from diptych.data.checks.unread_files import describe_unused
    from diptych.errors import printable

    _say(console, f"{printable(str(found.root))}: {found.layout}", "bold")
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    rows = list(_rows(found))
    with_sides = any(side for _, side, *_ in rows)
    for title in ("  split", *(["side"] if with_sides else []), "count", "pixels", "values"):
        table.add_column(title, justify="right" if title == "count" else "left")
    for split, side, *rest in rows:
        table.add_row(f"  {printable(split)}", *([printable(side)] if with_sides else []), *rest)
    if table.row_count:
        console.print()
        console.print(table)
    lines = [
        f"{printable(t.file.name)}: {len(t.names):,} rows, {_columns(t.columns)}"
        + ("; it tells the split" * bool(t.splits))
        for t in found.tables
    ]
    if found.unread_files:
        lines.append(describe_unused(found.unread_files))
    if lines:
        _say(console, "\n" + "\n".join(f"  {line}" for line in lines), "dim")


def _show_ignored(console: "Console", found: "Survey", text: str) -> None:
    """How many pixels of each split and side, or of each half of its files, have a colour to ignore."""
    from diptych.data.checks.survey import SIDE_BY_SIDE
    from diptych.data.dataset import ImageFiles
    from diptych.errors import printable
    from diptych.evaluation.metrics.palette import parse_ignored, share_near
    from diptych.system.colours import name_of

    colours = parse_ignored(text)
    _say(console, f"\npixels of the colours to ignore ({' '.join(map(name_of, colours))})", "bold")
    for part in found.parts:
        files = tuple(file for file in part.files if not found.manifest.entry_of(file).info.problem)
        halves = {"left": 0, "right": 1} if found.layout == SIDE_BY_SIDE else {part.domain: None}
        for side, half in halves.items() if files else ():
            share = share_near(ImageFiles(files, half), colours)
            words = f"no images of {len(colours[0])} channels" if share is None else f"{100 * share:.2g} %"
            _say(console, f"  {printable(part.split)} {printable(side)}".rstrip() + f": {words}")


def _columns(count: int) -> str:
    return "1 value each" if count == 1 else f"{count} values each"


def _rows(found: "Survey") -> Iterator[tuple[str, str, str, str, str]]:
    """Split, side, count, pixels, values: a line for each side, or one for a split that has many."""
    for split in dict.fromkeys(part.split for part in found.parts):
        parts = [part for part in found.parts if part.split == split]
        for side, some in (
            [(f"{len(parts)} folders", parts)] if len(parts) > SIDES else [(p.domain, [p]) for p in parts]
        ):
            entries = [entry for part in some for entry in found.entries(part) if not entry.info.problem]
            count = sum(len(part.files) for part in some)
            yield split, side, f"{count:,}", _pixels(entries), _values(entries)
    for array in found.arrays:
        counts = [f"{size:,}" for size in array.shape] or ["-"]
        yield array.split, array.name, counts[0], " x ".join(counts[1:]), array.dtype


def _pixels(entries: "Sequence[Entry]") -> str:
    sizes = Counter((entry.info.width, entry.info.height) for entry in entries)
    if len(sizes) > 2:
        (left, right), (low, high) = ((min(side), max(side)) for side in zip(*sizes, strict=True))
        return f"{left}-{right} x {low}-{high}, {len(sizes)} sizes"
    few = len(sizes) == 1
    return ", ".join(f"{w} x {h}" + ("" if few else f" ({count:,})") for (w, h), count in sizes.most_common())


def _values(entries: "Sequence[Entry]") -> str:
    kinds = Counter((entry.info.channels, entry.info.dtype) for entry in entries)
    few = len(kinds) == 1
    return ", ".join(
        f"{CHANNELS.get(channels, f'{channels} channels')} {DEPTHS[dtype]}" + ("" if few else f" ({count:,})")
        for (channels, dtype), count in kinds.most_common()
    )


def _show_troubles(console: "Console", title: str, style: str, troubles: "Sequence[Problem]") -> None:
    from diptych.errors import printable

    if not troubles:
        return
    _say(console, f"\n{title}", style)
    for fault in troubles:
        _say(console, f"  {len(fault.names):,} x {printable(fault.kind)}")
        for name in fault.names[:NAMED]:
            _say(console, f"      {printable(name)}")
        if len(fault.names) > NAMED:
            _say(console, f"      and {len(fault.names) - NAMED:,} more")
        _say(console, f"      -> {fault.remedy}", "dim")
