"""What a person at the terminal sees of a training, and the signals that reach it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from diptych.engine.step import Engine

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # Ctrl-C, `kill`, and what clusters send before the end
Show = Callable[[dict[str, float], float], None]  # the terms of a line of the log and steps per second; or neither


@contextmanager
def progress(console: Console, engine: "Engine") -> Iterator[Show]:
    """A live bar on a terminal, a line now and then elsewhere."""
    if not console.is_terminal or console.quiet:
        yield lambda terms, rate: _print_line(console, engine, terms, rate)
        return
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]} [dim]{task.fields[terms]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None, rate="", terms="")

        def show(terms: dict[str, float], rate: float) -> None:
            bar.update(task, description=engine.stage.name, total=engine.stage.steps, completed=engine.step)
            if terms:
                bar.update(task, rate=f"{rate:.2f} steps/s", terms=in_words(terms))

        yield show


@contextmanager
def counting(console: Console, what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar for so many done out of so many, which vanishes at the end; nothing where no one watches."""
    if not console.is_terminal or console.quiet:
        yield None
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_line(console: Console, engine: "Engine", terms: dict[str, float], rate: float) -> None:
    if not terms:
        return
    left = f"{(engine.stage.steps - engine.step) / rate / 60:.0f}" if rate else "?"
    console.print(
        f"{engine.stage.name} {engine.step}/{engine.stage.steps}  {rate:.2f} steps/s  "
        f"{left} min left  {in_words(terms)}",
        highlight=False,
        soft_wrap=True,
    )


def in_words(terms: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3g}" for name, value in terms.items() if not name.endswith("/gradient"))


@contextmanager
def told_to_stop(stop: Callable[[int], None]) -> Iterator[None]:
    """Within, the first of the STOPPING signals calls `stop`; a second one acts as it always does.

    One that this process was started to ignore, as Ctrl-C is for what a script runs in the background, stays ignored.
    """
    before: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        stop(number)

    try:
        for number in (each for each in STOPPING if signal.getsignal(each) is not signal.SIG_IGN):
            before[number] = signal.signal(number, handle)
    except ValueError:  # only the main thread may listen to signals
        pass
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
