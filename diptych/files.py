"""Files that are either whole or not there: written beside, synced, renamed, and the folder synced too.

And small files of settings, which may come from strangers: read as plain data, of bounded size and depth.
"""

import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

PART = ".part"
LARGEST_TEXT = 2**18  # bytes of a file of settings
LARGEST_HEADER = 2**24  # bytes of the header of a safetensors file: 100,000 tensors


@contextmanager
def whole(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yields a path to write to; when the block ends without an error it becomes `path`, else nothing changes.

    `durable` waits for the disk, so that not even a power loss undoes it.
    """
    make_folder(path.parent)
    room = path.with_name(f".{path.name}.{os.getpid()}{PART}")  # a folder, as some writers make files beside theirs
    part = room / path.name
    try:
        room.mkdir(exist_ok=True)
        part.touch()
        mode = part.stat().st_mode  # as the umask has it; some writers make files for their owner alone
        yield part
        part.chmod(mode)
        if durable:
            sync(part)
        os.replace(part, path)
        if durable:
            sync(path.parent)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def make_folder(path: Path) -> None:
    """The folder and those above it, so that not even a power loss undoes it. OSError."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync(each.parent)


def write_probe(folder: Path) -> None:
    """Write, sync, rename and remove a small file, as `whole` does. An OSError here is one that an hour of work is
    spared: no permission, a disk that is full, a network folder that cannot rename or replace.
    """
    probe = folder / f".probe.{os.getpid()}"
    try:
        for text in ("new", "replaced"):
            write_text(probe, text)
    finally:
        probe.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half written in a folder. What cannot be removed stays.

    What is not named as `whole` names it is none of ours. What belongs to a process that lives is left alone, for an
    hour: after that its number is taken for one that was given out anew.
    """
    for room in folder.glob(f".*{PART}"):
        pid = room.name.removesuffix(PART).rpartition(".")[2]
        if not pid.isdecimal() or (int(pid) != os.getpid() and _lives(int(pid)) and _age(room) < 3600):
            continue
        shutil.rmtree(room, ignore_errors=True)
        with suppress(OSError):
            room.unlink(missing_ok=True)  # a file, as Diptych once wrote them


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _age(path: Path) -> float:
    """Seconds since it was last written to, or since it vanished: endless."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return math.inf


def write_text(path: Path, text: str) -> None:
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Ask the system to put a file, or a folder's list of names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_text(path: Path) -> str:
    """OSError, or ValueError where the file is no UTF-8 or larger than any file of settings; it is not read whole."""
    with path.open("rb") as file:
        data = file.read(LARGEST_TEXT + 1)
    if len(data) > LARGEST_TEXT:
        raise ValueError(f"larger than {LARGEST_TEXT >> 10} KiB")
    return data.decode("utf-8")


def plain_json(text: str) -> Any:
    """ValueError for what is no JSON, holds a key twice, or is nested too deeply to be anybody's settings."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def plain_yaml(text: str) -> Any:
    """As YAML, without aliases and tags that make objects. ValueError with one line that says where it is wrong."""
    try:
        return yaml.load(text, _Plain)  # a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:300]) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def check_weights(path: Path, largest: int) -> None:
    """The size of a safetensors file and of its header, before anything is read whole. OSError or ValueError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if size > largest:
        raise ValueError(f"{size} bytes, where at most {largest} are read")
    if size < 8 or header > min(LARGEST_HEADER, size - 8):
        raise ValueError(f"its header claims {header} bytes, in a file of {size}; at most {LARGEST_HEADER} are read")


class _Plain(yaml.SafeLoader):
    """SafeLoader without aliases (nine lines of them can stand for a billion values), and with `2e-4` a number."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError(
                f"line {self.peek_event().start_mark.line + 1}: aliases (*name) are not read; write it out"
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        _once([(key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep)


_Plain.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key[:80]!r} is there twice")
        found[key] = value
    return found
