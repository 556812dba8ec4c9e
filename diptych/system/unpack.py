"""Extract .zip, .tar and .tar.gz archives of unknown origin: regular files only, bounded, all or nothing."""

import gzip
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import IO, Any

from diptych.errors import DataError, printable, shown
from diptych.system.atomic_files import PART, make_folder, remove_leftovers, sync

BLOCK = 2**20  # bytes read at once
MAX_READ = 2**24  # bytes that tarfile may read at once: a header says how many
MAX_FILES = 10**6
MAX_RATIO = 30  # of all files to their archive: images hardly compress
FREE_BYTES = 2**26  # of all files, whatever the size of the archive
END_OF_TAR = bytes(tarfile.BLOCKSIZE)
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, struct.error)

Progress = Callable[[int, int], None]  # bytes done, bytes in total


@dataclass(frozen=True)
class Member:
    """An entry of an archive. `kind` is `file`, `folder`, or what is refused, such as `link`."""

    name: str
    size: int
    kind: str
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, inside: str, target: Path, progress: Progress | None = None) -> int:
    """Extract the files below the folder `inside` of an archive into the new folder `target`; return their number.

    They are extracted into a temporary folder beside `target`, which is renamed at the end. DataError if the archive is
    damaged, has no such files, or has links, paths that lead out of it, or more or larger files than allowed.
    """
    make_folder(target.parent)
    remove_leftovers(target.parent)
    part = target.with_name(f".{target.name}.{os.getpid()}{PART}")
    try:
        part.mkdir()
        count = _extract(archive, PureWindowsPath(inside).parts, part, progress)
        if not count:
            raise DataError(f"{archive}: has no files in a folder {inside}, so it is not the expected archive")
        os.rename(part, target)
        sync(target.parent)
    except (*DAMAGE, ValueError, RuntimeError) as error:
        raise DataError(
            f"{archive}: damaged, or not a .zip, .tar or .tar.gz file ({printable(str(error)) or 'it ends early'}): "
            "fetch it again"
        ) from error
    except OSError as error:
        raise DataError(f"{archive}: cannot be extracted into {target} ({error})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return count


def _extract(archive: Path, inside: tuple[str, ...], folder: Path, progress: Progress | None) -> int:
    """Extract into an existing folder; return the number of files."""
    limit = MAX_RATIO * archive.stat().st_size + FREE_BYTES
    total = count = 0
    with _members(archive, progress) as members:
        for number, member in enumerate(members):
            total += member.size
            if number >= MAX_FILES or member.size < 0 or total > limit:
                raise DataError(f"{archive}: has more than {MAX_FILES:,} files or {limit:,} bytes; not extracted")
            parts = _parts(archive, member.name)
            if parts[: len(inside)] != inside or member.kind == "folder":
                continue
            if member.kind != "file":
                raise DataError(f"{archive}: {shown(member.name)} is a {member.kind}; not extracted")
            _write(archive, member, folder.joinpath(*parts[len(inside) :]))
            count += 1
    return count


def _parts(archive: Path, name: str) -> tuple[str, ...]:
    """Return the parts of a member's path by the rules of Windows, which allow the least. DataError if unsafe."""
    path = PureWindowsPath(name)
    if path.anchor or ".." in path.parts or printable(name) != name:
        raise DataError(f"{archive}: {shown(name)} is an unsafe path; not extracted")
    return path.parts


def _write(archive: Path, member: Member, path: Path) -> None:
    """Write one file of exactly the size in its header. DataError if it exists, or is shorter or longer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done = 0
    try:
        with member.open() as source, path.open("xb") as stream:  # type: ignore[union-attr]  # None only for folders
            while block := source.read(BLOCK):
                done += len(block)
                if done > member.size:
                    break
                stream.write(block)
    except FileExistsError as error:
        raise DataError(f"{archive}: {shown(member.name)} is in it twice; not extracted") from error
    if done != member.size:
        raise DataError(f"{archive}: {shown(member.name)} does not have the size in its header; fetch it again")


@contextmanager
def _members(archive: Path, progress: Progress | None) -> Iterator[Iterator[Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield _zip_members(packed, progress)
        return
    size = archive.stat().st_size
    with archive.open("rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw) if is_gzip else raw as plain:
            reader = _BoundedReader(plain)
            with tarfile.open(fileobj=reader, mode="r:") as tar:  # type: ignore[call-overload]  # what it uses of a file
                yield _tar_members(tar, reader, lambda: progress(raw.tell(), size) if progress else None)


def _zip_members(packed: zipfile.ZipFile, progress: Progress | None) -> Iterator[Member]:
    entries = packed.infolist()
    total, done = sum(entry.file_size for entry in entries), 0
    for entry in entries:
        kind = "folder" if entry.is_dir() else "file"
        if stat.S_ISLNK(entry.external_attr >> 16):
            kind = "link"
        elif entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            kind = "file that is encrypted or compressed in an unusual way"
        yield Member(entry.filename, entry.file_size, kind, partial(packed.open, entry))
        done += entry.file_size
        if progress:
            progress(done, total)


def _tar_members(tar: tarfile.TarFile, reader: "_BoundedReader", report: Callable[[], None]) -> Iterator[Member]:
    for entry in tar:
        kind = "file" if entry.isreg() and not entry.issparse() else "folder" if entry.isdir() else "link or device"
        yield Member(entry.name, entry.size, kind, partial(tar.extractfile, entry))
        report()
    if reader.last != END_OF_TAR:  # tarfile takes a damaged header for the end
        raise EOFError


class _BoundedReader:
    """A file for tarfile that refuses to read more than MAX_READ bytes at once. `last` is what was read last."""

    def __init__(self, file: Any) -> None:
        self._file, self.last = file, b""
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_READ:
            raise tarfile.ReadError(f"a header of more than {MAX_READ:,} bytes")
        self.last = self._file.read(size)
        return self.last
