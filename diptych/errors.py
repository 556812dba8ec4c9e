"""All errors raised for users. A message says what is wrong, where (file, setting, player, step) and what to do.

DiptychError
├── ConfigError       an unknown or invalid setting                       (exit code 2)
├── DataError         data that the method cannot train on                (exit code 2)
│   └── ImageError    an image that cannot be read or written
├── CheckpointError   a checkpoint or model that cannot be read           (exit code 2)
│   ├── ImportRefused a published file that is unsafe or not supported
│   └── HubError      a model hub that cannot be reached or refuses
├── RunError          a run folder that is in use, missing or read-only   (exit code 2)
├── EvaluationError   a metric that cannot be computed or compared        (exit code 2)
├── StudyError        a human study that cannot be run or analysed        (exit code 2)
└── TrainingError     a training step that failed: not finite, no memory  (exit code 3)
    ├── LoadingError  a batch that cannot be loaded: a data worker failed
    └── CallbackError a callback of the user that raised an exception
"""

import difflib
import reprlib
from collections.abc import Iterable, Sequence


class DiptychError(Exception):
    """The base class of all errors that Diptych raises for users."""

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


class HubError(CheckpointError):
    """`unreachable` says that the hub did not answer, so a copy that was downloaded before may be used."""

    def __init__(self, message: str, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


class RunError(DiptychError):
    pass


class EvaluationError(DiptychError):
    pass


class StudyError(DiptychError):
    pass


class TrainingError(DiptychError):
    """`step` is the step of the stage that failed, if known."""

    exit_code = 3

    def __init__(self, message: str, step: int | None = None) -> None:
        super().__init__(message)
        self.step = step


class LoadingError(TrainingError):
    pass


class CallbackError(TrainingError):
    pass


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean 'NAME'?` with the most similar name, to end a message with; `` if none is similar."""
    matches = difflib.get_close_matches(name[:80], list(names), 1, 0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def printable(text: str) -> str:
    """Return the text on one line, with control characters and lone surrogates escaped, as it may be from a file."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shown(value: object) -> str:
    """Return a short `repr(value)` for a message; values from files may be long, deeply nested or recursive."""
    try:
        return printable(_SHORT.repr(value))
    except ValueError:  # an integer of more digits than Python writes out
        return "a number too long to write out"


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 2, 80, 80, 80


def listed(texts: Sequence[str], most: int = 10, comma: str = ", ") -> str:
    """Return the first `most` of the texts and how many more there are: `a, b, and 3 more`."""
    return comma.join(texts[:most]) + (f"{comma}and {len(texts) - most} more" if len(texts) > most else "")
