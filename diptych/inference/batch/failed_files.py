"""The list of files that could not be translated, for other programs: tab-separated values with reasons."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.errors import printable
from diptych.inference.batch.shard import Shard
from diptych.inference.batch.stages import Outcome
from diptych.system.atomic_files import atomic_write

HEADER = "file\treason\n"
MAX_SHOWN = 20  # reasons that are kept for the error message


class FailedFiles:
    """Counts outcomes; `reasons` holds the first failures."""

    def __init__(self, part: Path) -> None:
        self.file = part.open("w", encoding="utf-8", newline="\n")
        self.file.write(HEADER)
        self.reasons: list[str] = []
        self.written = self.skipped = self.failed = 0

    def add(self, outcome: Outcome) -> None:
        """Count an outcome, and list it if it failed. A value of None is an image that was skipped."""
        if outcome.error:
            self.failed += 1
            self.file.write(f"{printable(str(outcome.item))}\t{printable(outcome.error)}\n")
            if len(self.reasons) < MAX_SHOWN:
                self.reasons.append(outcome.error)
        elif outcome.value is None:
            self.skipped += 1
        else:
            self.written += int(outcome.value)


def list_of(out: Path, shard: Shard) -> Path:
    """Return the path of the list of a shard."""
    return out / f"failed.shard-{shard}.tsv"


@contextmanager
def failed_files(out: Path, shard: Shard) -> Iterator[FailedFiles]:
    """Yield the list of a shard. Its file is replaced when the shard ends, and is only a header without failures."""
    with atomic_write(list_of(out, shard), durable=False) as part:
        failed = FailedFiles(part)
        try:
            yield failed
        finally:
            failed.file.close()
