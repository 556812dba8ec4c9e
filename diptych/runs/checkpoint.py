"""Checkpoints: one safetensors file each, whole or not there, with a digest of all that is in it. Never unpickled."""

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

State = tuple[dict[str, Tensor], dict[str, Any]]  # tensors by name, and what fits into JSON
VERSION = 1
SUFFIX = ".safetensors"
NAME = re.compile(r"(\d+)-(\d{8,})\.safetensors")  # of `file_name`: a copy that someone made is none of ours
META = {"place": int, "stage": str, "step": int, "total": int, "ledger": dict}  # what each has, beside the version
HEADER = 200  # bytes at most that the header spends on a tensor beside its name


def save(path: Path, state: State) -> None:
    """Write tensors and meta data; when this returns they are on the disk. Raises OSError and leaves nothing behind."""
    tensors, meta = state
    text = json.dumps({"version": VERSION, **meta}, allow_nan=False)
    need_room(path.parent, tensors, text)
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    notes = {"diptych": text, "digest": digest(tensors, text)}
    try:
        with atomic_write(path) as part:
            save_file(_unshared(tensors), part, notes)
    except SafetensorError as error:  # how its writer reports what the system refused
        raise OSError(str(error)) from error


def need_room(folder: Path, tensors: dict[str, Tensor], text: str) -> None:
    """OSError if the disk has less room than these tensors take: known before an hour's worth of them is written."""
    need = sum(value.nbytes + len(name) + HEADER for name, value in tensors.items()) + 2 * len(text)
    disk = shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists()))
    if disk.total and disk.free < need:  # some network folders tell nothing of their size
        raise OSError(
            errno.ENOSPC, f"{need / 2**20:.1f} MiB are needed, {disk.free / 2**20:.1f} MiB are free", str(folder)
        )


def load(path: Path) -> State:
    """Read and verify a checkpoint, on the CPU. Raises CheckpointError naming the file and what is wrong with it."""
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
    return tensors, _meta(notes["diptych"], path)


def read_meta(path: Path) -> dict[str, Any]:
    """Return the meta data of a checkpoint without reading or verifying its tensors. Raises CheckpointError."""
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {})["diptych"]
    except (SafetensorError, OSError, ValueError, LookupError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged or not a checkpoint ({error})") from error
    return _meta(text, path)


def _meta(text: str, path: Path) -> dict[str, Any]:
    """The meta data in a checkpoint's text, with everything in it that the engine relies on. CheckpointError."""
    try:
        meta = parse_json(text)
        version = meta.pop("version")
        if version != VERSION:
            newer = isinstance(version, int) and version > VERSION
            raise CheckpointError(
                f"{path}: format {shown(version)} of a checkpoint, and this Diptych reads {VERSION}"
                + ("; it was written by a newer Diptych: install that" if newer else "")
            )
        for key, kind in META.items():
            if not isinstance(meta[key], kind) or (kind is int and meta[key] < 0):
                raise ValueError(f"{key} is {shown(meta[key])}")
        best_of(meta)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"no {error} in them" if isinstance(error, KeyError) else error
        raise CheckpointError(f"{path}: its meta data are not those of a checkpoint ({what})") from error
    return meta


def best_of(meta: dict[str, Any]) -> tuple[str, float] | None:
    """Name and error of the best checkpoint so far, of a checkpoint's meta data. ValueError if they are none."""
    best = meta.get("best")
    if best is None:
        return None
    name, error = best["name"], best["error"]
    if not NAME.fullmatch(name) or not isinstance(error, float) or not math.isfinite(error):
        raise ValueError(f"best is {shown(best)}")
    return name, error


def digest(tensors: dict[str, Tensor], text: str) -> str:
    """SHA-256 over the meta data and each tensor's name, type, shape and bytes."""
    total = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def file_name(place: int, step: int) -> str:
    """`0-00001200.safetensors`: the place of the stage and the step, so that names sort by age."""
    return f"{place}-{step:08d}{SUFFIX}"


def parse_name(name: str) -> tuple[int, int]:
    """The inverse of `file_name`. ValueError."""
    match = NAME.fullmatch(name)
    if not match:
        raise ValueError(f"{shown(name)} is no name of a checkpoint")
    return int(match[1]), int(match[2])


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    found = [(match, path) for path in folder.glob(f"*{SUFFIX}") if (match := NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, key=lambda each: (int(each[0][1]), int(each[0][2])))]


def load_newest(folder: Path) -> State:
    """The newest whole checkpoint; a damaged one is passed over with a warning. CheckpointError if none is whole."""
    return find_newest(folder)[1]


def find_newest(folder: Path) -> tuple[Path, State]:
    """The newest whole checkpoint, as `load_newest`, and its file."""
    found = list_checkpoints(folder)
    for path in reversed(found):
        try:
            return path, load(path)
        except CheckpointError as error:
            warnings.warn(f"{error}; going back to the one before", stacklevel=3)
    raise CheckpointError(f"{folder}: no whole checkpoint among {len(found)} files; start the training anew")


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Networks that share a tensor (one frozen backbone in two places) each write it."""
    seen: set[int] = set()
    out = {}
    for name, value in tensors.items():
        out[name] = value.clone() if value.numel() and value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return out
