"""Training progress on the terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from diptych.system.terminal import has_progress_bars
from diptych.training.engine import Engine

Show = Callable[[dict[str, float], float], None]  # loss terms of a log record (or {}), and steps per second


class StepTimer:
    """Measures steps per second since it was created."""

    def __init__(self, step: int) -> None:
        self.first_step, self.start = step, time.monotonic()

    def rate(self, step: int) -> float:
        """Return the mean steps per second up to `step`."""
        return (step - self.first_step) / (time.monotonic() - self.start)


@contextmanager
def progress(console: Console, engine: Engine) -> Iterator[Show]:
    """Yield a function that shows progress: a progress bar on a terminal or in a notebook, else a line per record."""
    if console.quiet or not has_progress_bars(console):
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
                bar.update(task, rate=f"{rate:.2f} steps/s", terms=format_terms(terms))

        yield show


def _print_line(console: Console, engine: Engine, terms: dict[str, float], rate: float) -> None:
    if not terms:
        return
    minutes = f"{(engine.stage.steps - engine.step) / rate / 60:.0f}" if rate else "?"
    console.print(
        f"{engine.stage.name} {engine.step}/{engine.stage.steps}  {rate:.2f} steps/s  "
        f"{minutes} min left  {format_terms(terms)}",
        highlight=False,
        soft_wrap=True,
    )


def format_terms(terms: dict[str, float]) -> str:
    """Return the loss terms as `G/l1 0.123  D/real 0.5`, without the norms of gradients."""
    return "  ".join(f"{name} {value:.3g}" for name, value in terms.items() if not name.endswith("/gradient"))
