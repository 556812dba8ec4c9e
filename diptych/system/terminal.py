"""Progress bars on the terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


def has_progress_bars(console: Console) -> bool:
    """Return whether a console can update a bar in place: a terminal, or a notebook with `ipywidgets`."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


@contextmanager
def progress_bar(
    console: Console, description: str, in_bytes: bool = False
) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a function (done, total) that updates a transient progress bar; None if nothing can show it."""
    if console.quiet or not has_progress_bars(console):
        yield None
        return
    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn(description), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
