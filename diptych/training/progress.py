"""The progress of a training on the terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from diptych.training.engine import Engine

Show = Callable[[dict[str, float], float], None]  # the terms of a line of the log and steps per second; or neither


@contextmanager
def progress(console: Console, engine: Engine) -> Iterator[Show]:
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


def _print_line(console: Console, engine: Engine, terms: dict[str, float], rate: float) -> None:
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
