"""Checkpoints: one safetensors file each, written atomically, with a digest of its content. Never unpickled."""

import errno
import hashlib
import json
import math
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diptych.errors import CheckpointError, shown
from diptych.system.atomic_files import atomic_write
from diptych.system.safe_parse import parse_json

State = tuple[dict[str, Tensor], dict[str, Any]]  # tensors by name, and metadata for JSON
VERSION = 1
SUFFIX = ".safetensors"
NAME = re.compile(r"(\d+)-(\d{8,})\.safetensors")  # names from `file_name`: copies with other names are ignored
REQUIRED_META = {"place": int, "stage": str, "step": int, "total": int, "ledger": dict}  # beside the version
HEADER_BYTES = 200  # upper bound of a tensor's entry in the file header, without its name


def save(path: Path, state: State) -> None:
    """Write tensors and metadata; they are on the disk when this returns. OSError, with nothing left behind."""
    tensors, meta = state
    text = json.dumps({"version": VERSION, **meta}, allow_nan=False)
    check_disk_space(path.parent, tensors, text)
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    notes = {"diptych": text, "digest": digest(tensors, text)}
    try:
        with atomic_write(path) as part:
            save_file(without_shared_memory(tensors), part, notes)
    except SafetensorError as error:  # safetensors reports errors of the system as this
        raise OSError(str(error)) from error


def check_disk_space(folder: Path, tensors: dict[str, Tensor], text: str) -> None:
    """Raise OSError if the disk has less free space than a checkpoint of these tensors and metadata needs."""
    need = sum(value.nbytes + len(name) + HEADER_BYTES for name, value in tensors.items()) + 2 * len(text)
    disk = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists()))
    if disk.total and disk.free < need:  # some network folders report a size of 0
        raise OSError(
            errno.ENOSPC, f"{need / 2**20:.1f} MiB are needed, {disk.free / 2**20:.1f} MiB are free", str(folder)
        )


def load(path: Path) -> State:
    """Read and verify a checkpoint, on the CPU. CheckpointError names the file and what is wrong with it."""
    try:
        with safe_open(path, "pt") as file:
            notes = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except (SafetensorError, OSError, ValueError, LookupError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged or not a checkpoint ({error})") from error
    if "diptych" not in notes or notes.get("digest") != digest(tensors, notes["diptych"]):
        raise CheckpointError(
            f"{path}: its content does not match its digest; the file was damaged after it was written"
        )
    return tensors, _parse_meta(notes["diptych"], path)


def read_meta(path: Path) -> dict[str, Any]:
    """Return the meta data of a checkpoint without reading or verifying its tensors. Raises CheckpointError."""
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {})["diptych"]
    except (SafetensorError, OSError, ValueError, LookupError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged or not a checkpoint ({error})") from error
    return _parse_meta(text, path)


def _parse_meta(text: str, path: Path) -> dict[str, Any]:
    """Return the metadata of a checkpoint after checking all entries that the engine needs. CheckpointError."""
    try:
        meta = parse_json(text)
        version = meta.pop("version")
        if version != VERSION:
            is_newer = isinstance(version, int) and version > VERSION
            raise CheckpointError(
                f"{path}: format {shown(version)} of a checkpoint, and this Diptych reads {VERSION}"
                + ("; it was written by a newer Diptych: install that" if is_newer else "")
            )
        for key, kind in REQUIRED_META.items():
            if not isinstance(meta[key], kind) or (kind is int and meta[key] < 0):
                raise ValueError(f"{key} is {shown(meta[key])}")
        best_of(meta)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise CheckpointError(f"{path}: its header is not the meta data of a checkpoint ({reason})") from error
    return meta


def best_of(meta: dict[str, Any]) -> tuple[str, float] | None:
    """Return name and held-out error of the best checkpoint so far, or None. ValueError if they are invalid."""
    best = meta.get("best")
    if best is None:
        return None
    name, error = best["name"], best["error"]
    if not NAME.fullmatch(name) or not isinstance(error, float) or not math.isfinite(error):
        raise ValueError(f"best is {shown(best)}")
    return name, error


def digest(tensors: dict[str, Tensor], text: str) -> str:
    """Return the SHA-256 of the metadata and each tensor's name, type, shape and bytes."""
    total = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def file_name(stage_index: int, step: int) -> str:
    """Return `0-00001200.safetensors`: stage index and step, so that names sort by age."""
    return f"{stage_index}-{step:08d}{SUFFIX}"


def parse_name(name: str) -> tuple[int, int]:
    """Return stage index and step of a checkpoint's name. ValueError."""
    match = NAME.fullmatch(name)
    if not match:
        raise ValueError(f"{shown(name)} is not the name of a checkpoint")
    return int(match[1]), int(match[2])


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, oldest first."""
    paths = [path for path in folder.glob(f"*{SUFFIX}") if NAME.fullmatch(path.name)]
    return sorted(paths, key=lambda path: parse_name(path.name))


def load_newest(folder: Path) -> State:
    """Return the newest intact checkpoint; a damaged one is skipped with a warning. CheckpointError if none is."""
    return find_newest(folder)[1]


def find_newest(folder: Path) -> tuple[Path, State]:
    """Return the path and state of the newest intact checkpoint, as `load_newest` does."""
    paths = list_checkpoints(folder)
    for path in reversed(paths):
        try:
            return path, load(path)
        except CheckpointError as error:
            warnings.warn(f"{error}; loading the one before", stacklevel=3)
    raise CheckpointError(f"{folder}: none of the {len(paths)} checkpoint(s) is intact; start a new training")


def without_shared_memory(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with copies of those that share memory, as those of a layer in two networks."""
    seen: set[int] = set()
    copies = {}
    for name, value in tensors.items():
        copies[name] = value.clone() if value.numel() and value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return copies
