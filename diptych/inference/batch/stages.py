"""Reading, translating and writing of images at the same time, in order and in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from diptych.errors import ImageError

Item = TypeVar("Item")
THREADS = 2  # that read, and that write
WAITING = 8  # images that are read and wait for the device, and translations that wait to be written


class Outcome(NamedTuple):
    """What became of an item: what `write` returned, and the error of an image that could not be translated."""

    item: Any
    value: Any = None
    error: str = ""


def in_stages(
    items: Iterable[Item],
    read: Callable[[Item], Any],
    compute: Callable[[Item, Any], Any],
    write: Callable[[Item, Any], Any],
) -> Iterator[Outcome]:
    """Yield the outcome of each item, in order. `read` and `write` run in threads, `compute` in this one.

    An item for which `read` returns None is left out of the other stages. An ImageError is an outcome, any other error
    ends the iteration. Items are taken when they are needed, and at most 2 * `WAITING` are held.
    """
    given, ended = iter(items), object()
    reading: deque[tuple[Any, Future[Any]]] = deque()
    writing: deque[tuple[Any, Future[Any] | str | None]] = deque()
    with ThreadPoolExecutor(THREADS, "read") as readers, ThreadPoolExecutor(THREADS, "write") as writers:
        try:
            while True:
                while len(reading) < WAITING and (item := next(given, ended)) is not ended:
                    reading.append((item, readers.submit(read, item)))  # type: ignore[arg-type]
                if not reading:
                    break
                item, future = reading.popleft()
                writing.append((item, _computed(item, future, compute, write, writers)))
                while len(writing) > WAITING:
                    yield _outcome(*writing.popleft())
            while writing:
                yield _outcome(*writing.popleft())
        finally:
            for _, future in reading:
                future.cancel()


def _computed(
    item: Any,
    future: Future[Any],
    compute: Callable[[Any, Any], Any],
    write: Callable[[Any, Any], Any],
    writers: ThreadPoolExecutor,
) -> "Future[Any] | str | None":
    """Return the future of a written item, the error of one that failed, or None for one that is left out."""
    try:
        value = future.result()
        return None if value is None else writers.submit(write, item, compute(item, value))
    except ImageError as error:
        return str(error)


def _outcome(item: Any, state: "Future[Any] | str | None") -> Outcome:
    if state is None or isinstance(state, str):
        return Outcome(item, None, state or "")
    try:
        return Outcome(item, state.result())
    except ImageError as error:
        return Outcome(item, None, str(error))
