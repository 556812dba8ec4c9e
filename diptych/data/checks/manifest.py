"""What a data set holds, file by file: scanned once, remembered in a cache, saved beside a run to compare with later.

A manifest is lines of JSON, an `Entry` each, with a checksum of their own: a damaged line of the cache is as none.
"""

import gc
import hashlib
import json
import os
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TextIO

from diptych.data.checks.inspect_file import FileInfo, hash_of, inspect_file
from diptych.data.checks.worker_pool import inspect_files
from diptych.errors import DataError, ImageError, printable
from diptych.system.atomic_files import atomic_write
from diptych.system.cpus import cores

FEW = 100  # up to so many files are examined in this process: starting others takes longer
ROT = (
    "holds other bytes than when it was first read, though its size and date are the same; copy it again from where "
    "it came, or `touch` it if it is right"
)
_DECODER = json.JSONDecoder()
Progress = Callable[[int, int], None]  # files done, files to do


class Entry(NamedTuple):
    """One file as it was when it was examined; `path` is relative to the root, as in `relative_path`."""

    path: str
    size: int
    mtime_ns: int
    info: FileInfo

    @property
    def kind(self) -> str:
        """The problem without details and way out, such as `is empty`; nothing for a good file."""
        return (self.info.problem or "").partition(";")[0].partition(" (")[0].partition(":")[0]

    def line(self) -> str:
        values = {"path": self.path, "size": self.size, "mtime_ns": self.mtime_ns, **self.info._asdict()}
        body = json.dumps(values)[1:]
        return f'{{"crc": "{zlib.crc32(body.encode()):08x}", {body}\n'


@dataclass(frozen=True)
class Changes:
    """Paths, between an older manifest and a newer one."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    altered: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.altered)

    def __str__(self) -> str:
        kinds = {"added": self.added, "removed": self.removed, "altered": self.altered}
        return "; ".join(f"{len(paths)} {kind}: {first_few(paths)}" for kind, paths in kinds.items() if paths)


@dataclass(frozen=True)
class Manifest:
    """The files of a data set in the order of their paths."""

    root: Path
    entries: tuple[Entry, ...] = ()
    fingerprint: str = ""  # of data that is not in files

    @cached_property
    def by_path(self) -> Mapping[str, Entry]:
        return {entry.path: entry for entry in self.entries}

    def entry_of(self, file: Path) -> Entry:
        return self.by_path[relative_path(file, self.root)]

    @cached_property
    def problems(self) -> Mapping[str, tuple[Entry, ...]]:
        """The files that cannot be used, by kind of problem."""
        bad = [entry for entry in self.entries if entry.info.problem]
        return {kind: tuple(entry for entry in bad if entry.kind == kind) for kind in sorted({e.kind for e in bad})}

    @property
    def digest(self) -> str:
        """SHA-256 over paths and contents: the name of exactly this data. Without files, the fingerprint if known."""
        if self.fingerprint and not self.entries:
            return self.fingerprint
        lines = "".join(f"{json.dumps(entry.path)} {entry.info.sha256}\n" for entry in self.entries)
        return hashlib.sha256(lines.encode()).hexdigest()

    def save(self, path: Path) -> None:
        with atomic_write(path) as part, part.open("w", encoding="ascii") as file:
            file.writelines(entry.line() for entry in self.entries)

    @classmethod
    def load(cls, path: Path, root: Path = Path()) -> "Manifest":
        """What `save` wrote. Raises DataError if it is damaged or missing."""
        try:
            with path.open(encoding="ascii", errors="replace") as file:
                entries = [_parsed(line) for line in file]
        except OSError as error:
            raise DataError(f"{path}: the manifest of the data cannot be read ({error.strerror})") from error
        good = tuple(entry for entry in entries if entry is not None)
        if len(good) < len(entries):
            raise DataError(f"{path}: line {entries.index(None) + 1} of the manifest of the data is damaged")
        return cls(root, good)


def compare_manifests(old: Manifest, new: Manifest) -> Changes:
    ours, theirs = old.by_path, new.by_path
    altered = [path for path in ours if path in theirs and ours[path].info.sha256 != theirs[path].info.sha256]
    return Changes(
        tuple(path for path in theirs if path not in ours),
        tuple(path for path in ours if path not in theirs),
        tuple(altered),
    )


def scan(root: Path, files: Iterable[Path], *, verify: bool = False, progress: Progress | None = None) -> Manifest:
    """Examine `files` under `root`, except those that the cache knows by path, size and date.

    `verify` reads every file again and finds those whose content changed while size and date did not. What is wrong
    with a file is in its entry; the order of `files` does not matter. An interrupted scan goes on where it was.
    """
    known, entries = _cached(root), {}
    stamps: dict[str, tuple[int, int]] = {}
    waiting: dict[str, str] = {}
    for file in files:
        path = relative_path(file, root)
        found, stamp = known.get(path), _stamp(file)
        if found and not verify and found.info.transparent is not None and stamp == (found.size, found.mtime_ns):
            entries[path] = found
        else:
            stamps[path], waiting[path] = stamp, str(file)
    if waiting:
        with _Cache(root) as cache:
            for done, (path, finding) in enumerate(_examined(waiting), 1):
                entry = Entry(path, *stamps[path], finding)
                entries[path] = known[path] = _unless_rotten(entry, known.get(path))
                cache.add(entries[path])
                if progress:
                    progress(done, len(waiting))
            here = (entry for path, entry in known.items() if path in entries or os.path.lexists(root / path))
            cache.rewrite(here)
    return Manifest(root, tuple(entries[path] for path in sorted(entries)))


def check_unchanged(file: Path, entry: Entry) -> None:
    """Raise DataError if `file` is no longer what `entry` says. Its bytes are read only if size or date differ."""
    expected = entry.info.sha256
    try:
        if _stamp(file) == (entry.size, entry.mtime_ns) or (actual := hash_of(file)) == expected:
            return
    except (ImageError, OSError) as error:
        message = str(error).removeprefix(f"{file}: ").partition(";")[0]
        raise DataError(
            f"{file}: {message}, though it was good when the data was checked (SHA-256 {expected}); put it back"
        ) from error
    raise DataError(
        f"{file}: changed since the data was checked: its SHA-256 is {actual}, expected was {expected}; "
        f"put the old file back, or start a new run"
    )


def relative_path(file: Path, root: Path) -> str:
    """The name of a file in a manifest."""
    text, start = str(file), f"{root}/"
    return text[len(start) :] if text.startswith(start) else os.path.relpath(file, root)


def first_few(names: Iterable[str], count: int = 5) -> str:
    """The first few for a message."""
    names = list(names)
    return ", ".join(map(printable, names[:count])) + (", ..." if len(names) > count else "")


def _examined(paths: Mapping[str, str]) -> Iterator[tuple[str, FileInfo]]:
    if len(paths) > FEW:
        yield from inspect_files(paths, cores())
    else:
        for key, path in paths.items():
            yield key, inspect_file(path)


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = os.stat(file)
    except OSError:
        return -1, -1  # as no file has: what it is will be told by reading it
    return status.st_size, status.st_mtime_ns


def _unless_rotten(entry: Entry, before: Entry | None) -> Entry:
    """`entry`, or if its content changed behind its date's back, an entry with the hash it had before."""
    if before is None or (before.size, before.mtime_ns) != (entry.size, entry.mtime_ns):
        return entry
    old, new = before.info.sha256, entry.info.sha256
    if old is None or new is None or old == new:
        return entry
    return entry._replace(info=FileInfo(old, problem=ROT))


def _parsed(line: str) -> Entry | None:
    """The entry of a line; None if the line is damaged."""
    if line[:9] != '{"crc": "' or line[9:17] != f"{zlib.crc32(line[20:-1].encode()):08x}" or line[-1] != "\n":
        return None
    values, _ = _DECODER.raw_decode("{" + line[20:])
    try:
        return Entry(values.pop("path"), values.pop("size"), values.pop("mtime_ns"), FileInfo(**values))
    except (KeyError, TypeError):  # written by another version
        return None


def cache_folder() -> Path:
    """Where Diptych remembers what it could find out again."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DIPTYCH_CACHE") or Path(home, "diptych"))


def cache_of(root: Path) -> Path:
    """The file that remembers the scans of `root`: never in the data itself."""
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
    return cache_folder() / "manifests" / f"{name}.jsonl"


def _cached(root: Path) -> dict[str, Entry]:
    collecting = gc.isenabled()
    gc.disable()  # all that is made here is kept: to look for garbage among it takes a fifth of the time
    try:
        with cache_of(root).open(encoding="ascii", errors="replace") as file:
            return {entry.path: entry for line in file if (entry := _parsed(line))}
    except OSError:
        return {}
    finally:
        if collecting:
            gc.enable()


class _Cache:
    """The cache of a folder, written while its files are scanned. If it cannot be, that is told once."""

    def __init__(self, root: Path) -> None:
        self.path = cache_of(root)
        self.file: TextIO | None = None

    def __enter__(self) -> "_Cache":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self.path.open("a", encoding="ascii")
        except OSError as error:
            self._give_up(error)
        return self

    def add(self, entry: Entry) -> None:
        if self.file:
            try:
                self.file.write(entry.line())
            except OSError as error:
                self._give_up(error)

    def rewrite(self, entries: Iterable[Entry]) -> None:
        """Without lines that were overtaken or damaged, and files that are gone."""
        if self.file:
            try:
                with atomic_write(self.path, durable=False) as part, part.open("w", encoding="ascii") as file:
                    file.writelines(entry.line() for entry in entries)
            except OSError as error:
                self._give_up(error)

    def __exit__(self, *_: object) -> None:
        if self.file:
            try:
                self.file.close()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        file, self.file = self.file, None
        with suppress(OSError):
            if file:
                file.close()
        warnings.warn(
            f"{self.path}: cannot remember what was checked ({error.strerror}); set DIPTYCH_CACHE to a folder that "
            f"can be written, or each start reads all images again",
            stacklevel=3,
        )
