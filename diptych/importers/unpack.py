"""The child that reads a foreign file: pickle in, plain tensors out, behind walls.

    python -m diptych.importers.unpack FILE FOLDER     leaves FOLDER/weights.safetensors, or FOLDER/refused

torch reads pickles by rules of its own (`weights_only`), and nothing but tensors comes through. The walls are for the
day when those rules have a hole, and for files that only want to exhaust the machine.
"""

import ctypes
import os
import pickle
import re
import resource
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.torch_version import TorchVersion

from diptych.errors import ImportRefused, printable, shown
from diptych.importers import archive
from diptych.plain import check_weights

FLOOR = "2.11"  # of torch, as in pyproject.toml: `weights_only` of older ones has known holes
SLACK = 2**28  # bytes that reading may take beside twice the file
ENTRIES = 20_000  # of a state dict
WEIGHTS, REFUSED = "weights.safetensors", "refused"
NEWUSER, NEWNET = 0x10000000, 0x40000000  # of Linux' unshare
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# fmt: off
FORBIDDEN = (
    "socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "os.kill", "pty.",
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "shutil.", "ctypes.dlopen", "ctypes.dlsym",
)  # audit events by their beginning
# fmt: on


def main() -> None:
    path, out = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        with open_regular(path) as file:  # before the walls, behind which a file of another owner may be out of reach
            confine(out, os.fstat(file.fileno()).st_size)
            save_file(tensors_in(file, path), out / WEIGHTS)
    except ImportRefused as error:
        message = str(error)
    except Exception as error:
        message = f"{path}: cannot be unpacked ({type(error).__name__}: {first_line(error)})"
    else:
        return
    (out / REFUSED).write_text(printable(message)[:4000], encoding="utf-8")
    sys.exit(1)


def confine(out: Path, size: int) -> None:
    """Walls round this process, for good. `size` is that of the file, in bytes.

    Limits of the system: memory, processor time, size of what is written. No network, where Linux lets an ordinary
    process give it up (a namespace of its own). And a hook on Python's audit events: it stops what Python code does
    (sockets, processes, writing outside of `out`), which is what a pickle that gets something called would do. It does
    not see machine code, so it would not hold somebody who has broken torch's C++; limits and namespace still would.
    """
    with suppress(AttributeError):  # only Linux has it; some containers refuse it, and then it goes without
        ctypes.CDLL(None).unshare(NEWNET if os.geteuid() == 0 else NEWUSER | NEWNET)
    warnings.simplefilter("ignore")  # torch remarks on foreign files before it refuses them
    seconds = patience(size) + int(sum(os.times()[:2]))
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, size + 2**24),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_DATA, held() + 2 * size + SLACK if held() else resource.RLIM_INFINITY),
    ):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, hard if kind == resource.RLIMIT_CPU else most))  # so that SIGXCPU tells why
    inside = os.path.realpath(out) + os.sep

    def refuse(event: str, args: tuple[Any, ...]) -> None:
        if event.startswith(FORBIDDEN):
            raise PermissionError(f"{event} is forbidden while a foreign file is read")
        if event == "open" and args[2] & WRITING and isinstance(args[0], str | bytes | os.PathLike):
            name = os.path.realpath(os.fsdecode(args[0]))
            if not name.startswith(inside):
                raise PermissionError(f"writing {name} is forbidden while a foreign file is read")

    sys.addaudithook(refuse)


def patience(size: int) -> int:
    """Seconds of processor time to read `size` bytes."""
    return 30 + size // 2**24


def held() -> int:
    """Bytes of memory that this process may write to, by Linux; elsewhere 0. torch alone brings 0.8 GB with it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData")), 0)


def unpacked(path: Path) -> dict[str, Tensor]:
    """The state dict of a file, read in this process. Raises ImportRefused and never unpickles objects."""
    with open_regular(path) as file:
        return tensors_in(file, path)


def open_regular(path: Path) -> BinaryIO:
    try:
        if not path.is_file():
            raise ImportRefused(f"{path}: no such file")
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise ImportRefused(f"{path}: cannot be opened ({error})") from error


def tensors_in(file: BinaryIO, path: Path) -> dict[str, Tensor]:
    """Checked from the outside, then read, then checked from the inside."""
    require_torch()
    where, size = str(path), os.fstat(file.fileno()).st_size
    try:
        if path.suffix == ".safetensors":
            check_weights(path, archive.LARGEST)
            found = load_file(path)
        else:
            archive.check(file, size, where)
            found = torch.load(file, map_location="cpu", weights_only=True)
        return stripped(found, size, where)
    except pickle.UnpicklingError as error:
        raise ImportRefused(
            f"{where}: asks for more than tensors when it is read, so it was not run ({_asked_for(error)}). "
            f"Save its state_dict() alone, or as safetensors, where you trust it"
        ) from error
    except ImportRefused:
        raise
    except Exception as error:  # a damaged file makes torch raise nearly anything: AssertionError, struct.error, ...
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise ImportRefused(f"{where}: asks for far more memory than a file of {size} bytes should") from error
        raise ImportRefused(
            f"{where}: cannot be read as weights ({type(error).__name__}: {first_line(error)})"
        ) from error


def stripped(found: Any, size: int, where: str) -> dict[str, Tensor]:
    """Keys without `module.` (DataParallel) and `_orig_mod.` (torch.compile); dense tensors of `size` bytes at most.

    Of a file with several networks each key begins with the name of its network; what training kept beside them, counts
    of steps and states of optimisers, is left out.
    """
    if not isinstance(found, Mapping) or not found:
        raise ImportRefused(f"{where}: holds {type(found).__name__}, not a state dict of tensors by name")
    if any(isinstance(inside, Mapping) for inside in found.values()):
        found = {net: inside for net, inside in found.items() if not _of_training(inside)}
        found = found["state_dict"] if set(found) == {"state_dict"} else found
    if all(isinstance(net, str) and isinstance(inside, Mapping) for net, inside in found.items()):
        nets = {net: stripped(inside, size, where) for net, inside in found.items() if inside}
        found = {f"{net}.{key}": value for net, inside in nets.items() for key, value in inside.items()}
    if len(found) > ENTRIES:
        raise ImportRefused(f"{where}: holds {len(found)} entries; no published generator has more than {ENTRIES}")
    state: dict[str, Tensor] = {}
    total = 0
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ImportRefused(
                f"{where}: entry {shown(key)} is {type(value).__name__}, not a tensor; save the state_dict() alone"
            )
        if value.device.type != "cpu" or value.layout != torch.strided or value.is_quantized or not value.numel():
            raise ImportRefused(f"{where}: entry {shown(key)} is no plain tensor: {value.layout} on {value.device}")
        total += value.numel() * value.element_size()
        if total > size:  # by strides of 0, or by entries that share one stretch of memory
            raise ImportRefused(f"{where}: entry {shown(key)} claims to be larger than what the file holds of it")
        name = key.replace("_orig_mod.", "").removeprefix("module.")
        if name in state:
            raise ImportRefused(f"{where}: {shown(name)} is there twice, with the prefix of a wrapper and without")
        state[name] = value
    return {name: _alone(value.detach()) for name, value in state.items()}


def _of_training(value: Any) -> bool:
    """A number, or the state dict of an optimiser."""
    return isinstance(value, int | float) or (isinstance(value, Mapping) and set(value) == {"state", "param_groups"})


def _alone(value: Tensor) -> Tensor:
    """Contiguous, in memory that no other tensor has a part of; a copy only where it must be."""
    whole = value.is_contiguous() and value.untyped_storage().nbytes() == value.numel() * value.element_size()
    return value if whole else value.clone(memory_format=torch.contiguous_format)


def require_torch() -> None:
    if TorchVersion(torch.__version__) < FLOOR:
        raise ImportRefused(
            f"torch {torch.__version__} is installed; only from {FLOOR} on are foreign files read without running "
            f"what is in them: pip install 'torch>={FLOOR}'"
        )


def _asked_for(error: pickle.UnpicklingError) -> str:
    """What the pickle wants to call. The rest of torch's text is advice to switch the protection off."""
    found = re.search(r"GLOBAL (\S+)|Unsupported \w+ \S+", str(error))
    return printable((found[1] or found[0])[:200]) if found else "a pickle with instructions beyond tensors"


def first_line(error: BaseException) -> str:
    return printable((str(error).splitlines() or [""])[0][:200])


if __name__ == "__main__":
    main()
