"""Download a file by HTTP: from the first mirror that answers, and continued after an interruption."""

import os
import shutil
from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from diptych.system.atomic_files import DOWNLOAD_TIMEOUT, sync
from diptych.system.file_lock import lock_file

BLOCK = 2**20  # bytes
MAX_BYTES = 2**36  # of a file
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416

Progress = Callable[[int, int], None]  # bytes done, bytes in total


def fetch(urls: Sequence[str], file: Path, progress: Progress | None = None) -> None:
    """Download `file` from the first of the mirrors that answers.

    The data is first in `FILE.part`. If that exists, only the rest is requested, provided that the server still has the
    same version: `FILE.part.version` holds its ETag or date. Raises OSError, HTTPException.
    """
    part, version_file = file.with_name(f"{file.name}.part"), file.with_name(f"{file.name}.part.version")
    with version_file.open("a+", encoding="utf-8") as version:
        try:
            lock_file(version)
        except (BlockingIOError, PermissionError) as error:
            raise OSError(f"another process is downloading {file}") from error
        version.seek(0)
        response, start = _open_first(urls, part, version.read())
        with response:
            if start == 0:
                version.truncate(0)
                version.write(_version_of(response))
                version.flush()
            _save(response, part, start, progress)
    sync(part)
    os.replace(part, file)
    version_file.unlink(missing_ok=True)


def _open_first(urls: Sequence[str], part: Path, version: str) -> tuple[HTTPResponse, int]:
    """Return the response of the first mirror that answers, and the position in the file where it starts."""
    problems = []
    for url in urls:
        try:
            return _open(url, part, version)
        except (OSError, HTTPException) as error:
            problems.append(f"{url}: {str(error).strip() or type(error).__name__}")
    raise OSError("; ".join(problems))


def _open(url: str, part: Path, version: str) -> tuple[HTTPResponse, int]:
    """Return the response of a server: the part of the file that is missing, or all of it."""
    size = part.stat().st_size if version and part.is_file() else 0
    headers = {"User-Agent": "diptych", "Accept-Encoding": "identity"}
    rest = {"Range": f"bytes={size}-", "If-Range": version} if size else {}
    try:
        response = urlopen(Request(url, headers=headers | rest), timeout=DOWNLOAD_TIMEOUT)
    except HTTPError as error:
        if error.code != RANGE_NOT_SATISFIABLE or not size:
            raise
        part.unlink()
        return _open(url, part, version)
    if response.status != PARTIAL_CONTENT:
        return response, 0
    if not response.headers.get("Content-Range", "").startswith(f"bytes {size}-"):
        raise OSError("the server continues at another position than requested")
    return response, size


def _version_of(response: HTTPResponse) -> str:
    """Return what identifies this version of the file, for `If-Range`: a strong ETag, else the date; may be empty."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _save(response: HTTPResponse, part: Path, start: int, progress: Progress | None) -> None:
    """Write the body of a response from position `start` on. OSError if it is too large or ends early."""
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() else None
    needed, free = (total or start) - start, shutil.disk_usage(part.parent).free
    if needed > free:
        raise OSError(f"{needed:,} bytes needed in {part.parent}, {free:,} free")
    done = start
    with part.open("ab" if start else "wb") as stream:
        while block := response.read(BLOCK):
            done += len(block)
            if done > (MAX_BYTES if total is None else min(total, MAX_BYTES)):
                raise OSError(f"the server sends more than {total or MAX_BYTES:,} bytes")
            stream.write(block)
            if progress and total:
                progress(done, total)
    if total is not None and done != total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes; repeat the command to continue")
