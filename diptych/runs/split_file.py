"""`split.csv` in a run folder: the split and the group of each file, where `split=` chose them.

    path,split,group
    a/001.png,train,001

Paths are relative to root. A resume compares the file with the splits of the data, as a changed table of groups would
move files that the run was trained on into its test split.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from diptych.data.checks.manifest import listed_names, relative_path
from diptych.data.dataset import Data, files_of
from diptych.errors import RunError
from diptych.system.atomic_files import write_text

HEADER = ("path", "split", "group")


def write_split(file: Path, data: Data, root: str) -> None:
    """Write the splits of `data`, which was opened at `root`; nothing if `split=` did not choose them. RunError."""
    rows = sorted(_rows(data, root))
    if not rows:
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEADER, *rows])
    try:
        write_text(file, text.getvalue())
    except OSError as error:
        raise RunError(f"{file}: cannot be written ({error}); make room, then try again") from error


def check_split(file: Path, data: Data, root: str) -> None:
    """Raise RunError if a file of `data` has another split than in `file`, if that exists."""
    now = {path: split for path, split, _ in _rows(data, root)}
    moved = [
        f"{path} from {before} to {now[path]}"
        for path, before in _read(file).items()
        if now.get(path, before) != before
    ]
    if moved:
        raise RunError(
            f"{file}: {len(moved)} files have another split than when this run began: {listed_names(moved)}. Restore "
            f"the table or the names from which their groups are read, or train a new run"
        )


def _rows(data: Data, root: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, split and group of each file."""
    folder = Path(root).expanduser()
    for part in (data, *data.others):
        for name, split in (("train", part.train), ("val", part.held_out), ("test", part.test)):
            for file in files_of(split) if split else ():
                if file in part.group_of:
                    yield _encodable(relative_path(file, folder)), name, _encodable(part.group_of[file])


def _encodable(text: str) -> str:
    """Return a name with bytes that are not UTF-8 escaped."""
    return text.encode(errors="backslashreplace").decode()


def _read(file: Path) -> dict[str, str]:
    """Return the split of each path; empty without a file. RunError."""
    if not file.exists():
        return {}
    try:
        rows = list(csv.reader(file.read_text(encoding="utf-8").splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{file}: cannot be read ({error}); restore it from a copy") from error
    if not rows or tuple(rows[0]) != HEADER or any(len(row) != len(HEADER) for row in rows):
        raise RunError(f"{file}: expected rows of {','.join(HEADER)}; restore it from a copy")
    return {path: split for path, split, _ in rows[1:]}
