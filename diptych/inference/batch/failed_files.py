"""The list of files that could not be translated, for other programs: tab-separated values with reasons."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.errors import printable
from diptych.inference.batch.shard import Shard
from diptych.inference.batch.stages import Outcome
from diptych.system.atomic_files import atomic_write

HEADER = "file\treason\n"
MEMBER = re.compile(r"([^\t]*?\.(?:tar|parquet)): ")  # the file of a member that failed
MAX_SHOWN = 20  # reasons that are kept for the error message


class FailedFiles:
    """Counts outcomes; `reasons` holds the first failures.

    `former` has lines of the last run by tar or Parquet file: those of a file that is skipped are kept.
    """

    def __init__(self, part: Path, former: dict[str, list[str]]) -> None:
        self.former = former
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
            self.file.writelines(self.former.get(printable(str(outcome.item)), []))
        else:
            self.written += int(outcome.value)


def list_of(out: Path, shard: Shard) -> Path:
    """Return the path of the list of a shard."""
    return out / f"failed.shard-{shard}.tsv"


@contextmanager
def failed_files(out: Path, shard: Shard) -> Iterator[FailedFiles]:
    """Yield the list of a shard. Its file is replaced when the shard ends, and is only a header without failures."""
    with atomic_write(list_of(out, shard), durable=False) as part:
        failed = FailedFiles(part, _former_lines(list_of(out, shard)))
        try:
            yield failed
        finally:
            failed.file.close()


def _former_lines(path: Path) -> dict[str, list[str]]:
    """Return the lines about members of tar and Parquet files, by file."""
    lines: dict[str, list[str]] = {}
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if match := MEMBER.match(line):
                    lines.setdefault(match[1], []).append(line)
    return lines
