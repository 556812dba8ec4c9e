"""WebDataset shards: tar files of images, read and written member by member."""

import tarfile
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path, PurePosixPath

from diptych.data.images.image_io import StoredFile
from diptych.errors import DataError, printable

SUFFIX = ".tar"
MAX_MEMBER = 2**28  # bytes
MAX_NAME = 4096  # characters


def members_of(path: Path) -> Iterator[tuple[str, StoredFile]]:
    """Yield the name and content of each file in a tar file, in order, without unpacking it.

    Raises DataError for a damaged file, for links and devices, names outside of the folder, and members above 256 MiB.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # else all headers are kept
                if member.isdir():
                    continue
                name = _checked_name(path, member)
                content = archive.extractfile(member)
                data = content.read() if content else b""
                if len(data) != member.size:
                    raise DataError(f"{path}: {name} is cut short: copy the file again")
                yield name, StoredFile(f"{path}: {name}", data)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path}: not a tar file, or damaged ({error}): an uncompressed .tar is read") from error


def _checked_name(path: Path, member: tarfile.TarInfo) -> str:
    """Return the name of a member that is an ordinary file below the folder. Raises DataError for any other."""
    name = PurePosixPath(member.name)
    shown = printable(member.name[:80])
    if not member.isreg():
        raise DataError(f"{path}: {shown} is a link or device: write the tar file again with files alone")
    if name.is_absolute() or ".." in name.parts or len(member.name) > MAX_NAME or "\0" in member.name:
        raise DataError(f"{path}: {shown} is not a path below the folder: write the tar file again")
    if member.size > MAX_MEMBER:
        raise DataError(f"{path}: {shown} has {member.size:,} bytes, the limit is {MAX_MEMBER:,}")
    return str(name)


def write_members(path: Path, members: Iterator[tuple[str, bytes]]) -> None:
    """Write a tar file whose bytes depend on names and contents alone. DataError for a name that is repeated."""
    names: set[str] = set()
    with closing(tarfile.open(path, "w", format=tarfile.PAX_FORMAT)) as archive:
        for name, data in members:
            if name in names:
                raise DataError(f"{name}: two members would get this name: leave out --suffix, or rename one")
            names.add(name)
            archive.addfile(_header(name, len(data)), BytesIO(data))
            archive.members.clear()  # type: ignore[attr-defined]


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mtime, header.mode = size, 0, 0o644
    return header
