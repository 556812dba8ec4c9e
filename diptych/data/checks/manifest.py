"""The manifest of a data set: the scan result of each file, cached, and saved with a run to detect changes later.

A manifest file has one line of JSON for each `Entry`, with a checksum: a damaged line of the cache is ignored.
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
from diptych.errors import DataError, ImageError, listed, printable
from diptych.system.atomic_files import atomic_write
from diptych.system.cpus import cores

MIN_FILES_FOR_WORKERS = 100  # up to this number, files are inspected in this process, which is faster
CHANGED_SILENTLY = (
    "has other bytes than when it was first read, although its size and date are the same; restore it from a copy, or "
    "`touch` it if it is correct"
)
_DECODER = json.JSONDecoder()
_KEYS = {"difference_hash": "look"}  # keys of manifest files that differ from the field
Progress = Callable[[int, int], None]  # files done, files to do


class Entry(NamedTuple):
    """The state of one file when it was inspected. `path` is relative to the root, by `relative_path`."""

    path: str
    size: int
    mtime_ns: int
    info: FileInfo

    @property
    def kind(self) -> str:
        """The problem without details and remedy, such as `is empty`; empty for a good file."""
        return (self.info.problem or "").partition(";")[0].partition(" (")[0].partition(":")[0]

    def line(self) -> str:
        """Return the entry as a line of a manifest file."""
        info = {_KEYS.get(name, name): value for name, value in self.info._asdict().items()}
        body = json.dumps({"path": self.path, "size": self.size, "mtime_ns": self.mtime_ns, **info})[1:]
        return f'{{"crc": "{zlib.crc32(body.encode()):08x}", {body}\n'


@dataclass(frozen=True)
class Changes:
    """The paths of files that differ between an older and a newer manifest."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    altered: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.altered)

    def __str__(self) -> str:
        kinds = {"added": self.added, "removed": self.removed, "altered": self.altered}
        return "; ".join(f"{len(paths)} {kind}: {listed_names(paths)}" for kind, paths in kinds.items() if paths)


@dataclass(frozen=True)
class Manifest:
    """The scan results of the files of a data set, sorted by path."""

    root: Path
    entries: tuple[Entry, ...] = ()
    fingerprint: str = ""  # of data that is not in files

    @cached_property
    def by_path(self) -> Mapping[str, Entry]:
        """The entries by path."""
        return {entry.path: entry for entry in self.entries}

    def entry_of(self, file: Path) -> Entry:
        """Return the entry of a file."""
        return self.by_path[relative_path(file, self.root)]

    @cached_property
    def problems(self) -> Mapping[str, tuple[Entry, ...]]:
        """The files that cannot be used, by problem."""
        bad = [entry for entry in self.entries if entry.info.problem]
        return {kind: tuple(entry for entry in bad if entry.kind == kind) for kind in sorted({e.kind for e in bad})}

    @property
    def digest(self) -> str:
        """SHA-256 over all paths and contents, which identifies the data; without files, the fingerprint if known."""
        if self.fingerprint and not self.entries:
            return self.fingerprint
        lines = "".join(f"{json.dumps(entry.path)} {entry.info.sha256}\n" for entry in self.entries)
        return hashlib.sha256((lines + self.fingerprint).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the manifest to a file, atomically."""
        with atomic_write(path) as part, part.open("w", encoding="ascii") as file:
            file.writelines(entry.line() for entry in self.entries)

    @classmethod
    def load(cls, path: Path, root: Path = Path()) -> "Manifest":
        """Read a manifest that `save` wrote. Raises DataError if it is damaged or missing."""
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
    """Return the files that were added, removed or altered, by their SHA-256."""
    before, after = old.by_path, new.by_path
    return Changes(
        added=tuple(path for path in after if path not in before),
        removed=tuple(path for path in before if path not in after),
        altered=tuple(path for path in before if path in after and before[path].info.sha256 != after[path].info.sha256),
    )


def scan(root: Path, files: Iterable[Path], *, verify: bool = False, progress: Progress | None = None) -> Manifest:
    """Return the manifest of `files` under `root`. Files in the cache with the same size and date are not read again.

    `verify` reads every file again, and detects files whose content changed although size and date did not. Problems
    are in the entries; the order of `files` does not matter. An interrupted scan continues where it stopped.
    """
    cached, entries = _read_cache(root), {}
    stamps: dict[str, tuple[int, int]] = {}
    to_inspect: dict[str, str] = {}
    for file in files:
        path = relative_path(file, root)
        entry, stamp = cached.get(path), _stamp(file)
        if entry and not verify and _is_complete(entry) and stamp == (entry.size, entry.mtime_ns):
            entries[path] = entry
        else:
            stamps[path], to_inspect[path] = stamp, str(file)
    if to_inspect:
        with _Cache(root) as cache:
            for done, (path, info) in enumerate(_inspect(to_inspect), 1):
                entry = Entry(path, *stamps[path], info)
                entries[path] = cached[path] = _with_silent_change(entry, cached.get(path))
                cache.add(entries[path])
                if progress:
                    progress(done, len(to_inspect))
            existing = (entry for path, entry in cached.items() if path in entries or os.path.lexists(root / path))
            cache.rewrite(existing)
    return Manifest(root, tuple(entries[path] for path in sorted(entries)))


def _is_complete(entry: Entry) -> bool:
    """Return whether an entry of the cache has all that this version looks for in a good file."""
    return entry.info.stored_dtype is not None and (entry.info.crs is None or entry.info.transform is not None)


def check_unchanged(file: Path, entry: Entry) -> None:
    """Raise DataError if `file` changed since the scan. It is read only if its size or date differ."""
    expected = entry.info.sha256
    try:
        if _stamp(file) == (entry.size, entry.mtime_ns) or (actual := hash_of(file)) == expected:
            return
    except (ImageError, OSError) as error:
        message = str(error).removeprefix(f"{file}: ").partition(";")[0]
        raise DataError(
            f"{file}: {message}, although it was readable when the data was checked (SHA-256 {expected}); restore it"
        ) from error
    raise DataError(
        f"{file}: changed since the data was checked: its SHA-256 is {actual}, expected {expected}; restore the file, "
        f"or start a new run"
    )


def relative_path(file: Path, root: Path) -> str:
    """Return the path of a file in a manifest, relative to the root, with `/` on every system."""
    text, start = str(file), f"{root}{os.sep}"
    relative = text[len(start) :] if text.startswith(start) else os.path.relpath(file, root)
    return relative.replace(os.sep, "/")


def listed_names(names: Iterable[str], count: int = 5) -> str:
    """Return the first names for a message, with control characters escaped, and the number of further ones."""
    return listed([printable(name) for name in names], count)


def _inspect(paths: Mapping[str, str]) -> Iterator[tuple[str, FileInfo]]:
    """Yield the result of each file, in worker processes if there are many."""
    if len(paths) > MIN_FILES_FOR_WORKERS:
        yield from inspect_files(paths, cores())
    else:
        for key, path in paths.items():
            yield key, inspect_file(path)


def _stamp(file: Path) -> tuple[int, int]:
    """Return the size and modification time of a file; -1 if it cannot be accessed, which inspection reports."""
    try:
        status = os.stat(file)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _with_silent_change(entry: Entry, before: Entry | None) -> Entry:
    """Return `entry`; if its content changed while size and date did not, one with the old hash and this problem."""
    if before is None or (before.size, before.mtime_ns) != (entry.size, entry.mtime_ns):
        return entry
    old, new = before.info.sha256, entry.info.sha256
    if old is None or new is None or old == new:
        return entry
    return entry._replace(info=FileInfo(old, problem=CHANGED_SILENTLY))


def _parsed(line: str) -> Entry | None:
    """Return the entry of a line of a manifest file; None if it is damaged or of another version."""
    if line[:9] != '{"crc": "' or line[9:17] != f"{zlib.crc32(line[20:-1].encode()):08x}" or line[-1] != "\n":
        return None
    values, _ = _DECODER.raw_decode("{" + line[20:])
    for field, key in _KEYS.items():
        values[field] = values.pop(key, None)
    try:
        return Entry(values.pop("path"), values.pop("size"), values.pop("mtime_ns"), FileInfo(**values))
    except (KeyError, TypeError):
        return None


def cache_folder() -> Path:
    """Return the cache folder of Diptych: `DIPTYCH_CACHE`, or `diptych` in the cache folder of the user."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DIPTYCH_CACHE") or Path(home, "diptych"))


def cache_of(root: Path) -> Path:
    """Return the cache file of the scans of `root`, which is outside of it."""
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
    return cache_folder() / "manifests" / f"{name}.jsonl"


def _read_cache(root: Path) -> dict[str, Entry]:
    """Return the cached entries by path."""
    collecting = gc.isenabled()
    gc.disable()  # no garbage arises here, and collection would take a fifth of the time
    try:
        with cache_of(root).open(encoding="ascii", errors="replace") as file:
            return {entry.path: entry for line in file if (entry := _parsed(line))}
    except OSError:
        return {}
    finally:
        if collecting:
            gc.enable()


class _Cache:
    """The cache of a folder, written during a scan. If it is not writable, one warning is issued."""

    def __init__(self, root: Path) -> None:
        self.path = cache_of(root)
        self.file: TextIO | None = None

    def __enter__(self) -> "_Cache":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self.path.open("a", encoding="ascii")
        except OSError as error:
            self._disable(error)
        return self

    def add(self, entry: Entry) -> None:
        """Append an entry."""
        if self.file:
            try:
                self.file.write(entry.line())
            except OSError as error:
                self._disable(error)

    def rewrite(self, entries: Iterable[Entry]) -> None:
        """Replace the file, without outdated or damaged lines and without deleted files."""
        if self.file:
            try:
                self.file.close()  # Windows does not replace an open file
                with atomic_write(self.path, durable=False) as part, part.open("w", encoding="ascii") as file:
                    file.writelines(entry.line() for entry in entries)
            except OSError as error:
                self._disable(error)

    def __exit__(self, *_: object) -> None:
        if self.file:
            try:
                self.file.close()
            except OSError as error:
                self._disable(error)

    def _disable(self, error: OSError) -> None:
        file, self.file = self.file, None
        with suppress(OSError):
            if file:
                file.close()
        warnings.warn(
            f"{self.path}: the cache of checked images cannot be written ({error.strerror}); set DIPTYCH_CACHE to a "
            f"writable folder, or all images are read again at each start",
            stacklevel=3,
        )
