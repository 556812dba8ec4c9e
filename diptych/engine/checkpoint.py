"""Checkpoints: one safetensors file each, whole or not there, with a digest of all that is in it. Never unpickled."""

import hashlib
import json
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diptych.engine.step import State
from diptych.errors import CheckpointError
from diptych.files import PART, whole

VERSION = 1
SUFFIX = ".safetensors"


def save(path: Path, state: State) -> None:
    """Write tensors and meta data; when this returns they are on the disk. Raises OSError and leaves nothing behind."""
    tensors, meta = state
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps({"version": VERSION, **meta})
    with whole(path) as part:
        save_file(_unshared(tensors), part, {"diptych": text, "digest": digest(tensors, text)})


def load(path: Path) -> State:
    """Read and verify a checkpoint, on the CPU. Raises CheckpointError naming the file and what is wrong with it."""
    try:
        with safe_open(path, "pt") as file:
            notes = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged or not a checkpoint ({error})") from error
    if "diptych" not in notes or notes.get("digest") != digest(tensors, notes["diptych"]):
        raise CheckpointError(
            f"{path}: its content does not match its digest; the file was damaged after it was written"
        )
    meta = json.loads(notes["diptych"])
    if meta.pop("version") != VERSION:
        raise CheckpointError(f"{path}: written in another format version than {VERSION}, which this Diptych reads")
    return tensors, meta


def digest(tensors: dict[str, Tensor], text: str) -> str:
    """SHA-256 over the meta data and each tensor's name, type, shape and bytes."""
    total = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def name_of(place: int, step: int) -> str:
    """`0-00001200.safetensors`: the place of the stage and the step, so that names sort by age."""
    return f"{place}-{step:08d}{SUFFIX}"


def all_in(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    return sorted(folder.glob(f"[0-9]*-*{SUFFIX}"))


def newest(folder: Path) -> State:
    """The newest whole checkpoint; a damaged one is passed over with a warning. CheckpointError if none is whole."""
    found = all_in(folder)
    for path in reversed(found):
        try:
            return load(path)
        except CheckpointError as error:
            warnings.warn(f"{error}; going back to the one before", stacklevel=2)
    raise CheckpointError(f"{folder}: no whole checkpoint among {len(found)} files; start the training anew")


def tidy(folder: Path, best: str | None, keep: int = 2) -> None:
    """Remove all but the `keep` newest checkpoints and the best, and what a killed process left half written."""
    for path in all_in(folder)[:-keep]:
        if path.name != best:
            path.unlink()
    for part in folder.glob(f".*{PART}"):
        part.unlink(missing_ok=True)


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Networks that share a tensor (one frozen backbone in two places) each write it."""
    seen: set[int] = set()
    out = {}
    for name, value in tensors.items():
        out[name] = value.clone() if value.numel() and value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return out
