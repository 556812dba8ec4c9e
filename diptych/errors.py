"""Every error that a person can meet; each message names the file, field, player or step, and the way out.

DiptychError
├── ConfigError       a setting that does not exist, or does not fit      (exit code 2)
├── DataError         the data folder is not what the method needs        (exit code 2)
│   └── ImageError    one image cannot be read or written
├── CheckpointError   a checkpoint or model file is damaged or foreign    (exit code 2)
│   └── ImportRefused a published file that is unsafe or unknown
├── RunError          the run folder is taken, missing or not writable    (exit code 2)
├── EvaluationError   a measure that cannot be taken, or must not be held against another (exit code 2)
└── TrainingError     a step that cannot be taken: not finite, no memory  (exit code 3)
    ├── LoadingError  a batch that cannot be loaded: a data worker died or failed
    └── CallbackError a callback of the user raised an exception
"""

import difflib
import reprlib
from collections.abc import Iterable, Sequence


class DiptychError(Exception):
    """The root: `except DiptychError` catches whatever Diptych says to a person."""

    exit_code = 2


class ConfigError(DiptychError):
    pass


class DataError(DiptychError):
    pass


class ImageError(DataError):
    pass


class CheckpointError(DiptychError):
    pass


class ImportRefused(CheckpointError):
    pass


class RunError(DiptychError):
    pass


class EvaluationError(DiptychError):
    pass


class TrainingError(DiptychError):
    """`step` is the step of the stage that could not be taken, where that is known."""

    exit_code = 3

    def __init__(self, message: str, step: int | None = None) -> None:
        super().__init__(message)
        self.step = step


class LoadingError(TrainingError):
    pass


class CallbackError(TrainingError):
    pass


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'width'?` for the end of a message, or nothing if no name is near."""
    near = difflib.get_close_matches(name[:80], list(names), 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def printable(text: str) -> str:
    """On one line, control characters and lone surrogates as escapes: texts of strangers must not steer a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shown(value: object) -> str:
    """`repr(value)` for a message, short whatever the value is: a file may hold long, deep or endless ones."""
    try:
        return printable(_SHORT.repr(value))
    except ValueError:  # an integer of more digits than Python writes out
        return "a number too long to write out"


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 2, 80, 80, 80


def listed(texts: Sequence[str], most: int = 10, comma: str = ", ") -> str:
    """Return the first `most` of the texts and how many more there are: `a, b, and 3 more`."""
    return comma.join(texts[:most]) + (f"{comma}and {len(texts) - most} more" if len(texts) > most else "")
