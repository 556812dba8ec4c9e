"""The child that reads a foreign file: pickle in, plain tensors out, behind walls.

    python -m diptych.importers.sandbox FILE FOLDER [NETWORK]     leaves FOLDER/weights.safetensors, or FOLDER/refused

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
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.torch_version import TorchVersion

from diptych.errors import ImportRefused, printable
from diptych.importers import legacy_torch, zip_check
from diptych.importers.file_signatures import AGAIN
from diptych.importers.wrappers import deduplicated, state_of
from diptych.system.safe_parse import check_safetensors

FLOOR = "2.11"  # of torch, as in pyproject.toml: `weights_only` of older ones has known holes
SLACK = 2**28  # bytes that reading may take beside twice the file
WEIGHTS, REFUSED = "weights.safetensors", "refused"
NEWUSER, NEWNET = 0x10000000, 0x40000000  # of Linux' unshare
CALLING = (105, 111, 130, 131, 132, 146, 147)  # INST, OBJ, EXT1 to EXT4, NEWOBJ_EX, STACK_GLOBAL: of no damage alone
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
            found, names = deduplicated(tensors_in(file, path, sys.argv[3] if len(sys.argv) > 3 else None))
            save_file(found, out / WEIGHTS, names)
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
    seconds = cpu_seconds(size) + int(sum(os.times()[:2]))
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, size + 2**24),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_DATA, data_bytes() + 2 * size + SLACK if data_bytes() else resource.RLIM_INFINITY),
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


def cpu_seconds(size: int) -> int:
    """Seconds of processor time to read `size` bytes."""
    return 30 + size // 2**24


def data_bytes() -> int:
    """Bytes of memory that this process may write to, by Linux; elsewhere 0. torch alone brings 0.8 GB with it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData")), 0)


def read_in_process(path: Path, which: str | None = None) -> dict[str, Tensor]:
    """The state dict of a file, read in this process. Raises ImportRefused and never unpickles objects."""
    with open_regular(path) as file:
        return tensors_in(file, path, which)


def open_regular(path: Path) -> BinaryIO:
    try:
        if says := _no_file(path):
            raise ImportRefused(f"{path}: {says}")
        return path.open("rb")
    except (OSError, ValueError, RuntimeError) as error:
        raise ImportRefused(f"{path}: cannot be opened ({error})") from error


def _no_file(path: Path) -> str | None:
    """What a path is that is no regular file."""
    if path.is_file():
        return None
    if (path / "config.json").is_file() and (path / "model.safetensors").is_file():
        return "a model folder of Diptych already (config.json, model.safetensors): use it as it is"
    if path.is_dir():
        return "a folder; give the file of weights in it, such as latest_net_G.pth"
    if path.is_symlink() and not path.exists():
        return "a symbolic link whose target does not exist"
    return "a device, pipe or socket; give a regular file" if path.exists() else "no such file"


def tensors_in(file: BinaryIO, path: Path, which: str | None = None) -> dict[str, Tensor]:
    """Checked from the outside, then read, then checked from the inside; of several networks the one called `which`."""
    require_torch()
    where, size = str(path), os.fstat(file.fileno()).st_size
    form = None
    try:
        form = zip_check.check(file, size, where)
        return state_of(_read(file, path, form, size), which, size, where)
    except ImportRefused:
        raise
    except Exception as error:  # a damaged file makes torch raise nearly anything: AssertionError, struct.error, ...
        raise ImportRefused(f"{where}: {_why(error, file, form, size)}") from error


def _read(file: BinaryIO, path: Path, form: zip_check.Form, size: int) -> Any:
    if form == "safetensors":
        check_safetensors(path, zip_check.LARGEST)
        return load_file(path)
    if form == "tar":
        return legacy_torch.tensors_of_tar(file, size, str(path))
    return torch.load(file, map_location="cpu", weights_only=True)


def _why(error: Exception, file: BinaryIO, form: zip_check.Form | None, size: int) -> str:
    """What is wrong with a file that its reader failed on."""
    if form == "stream" and (cut := legacy_torch.cut_stream(file, size)):
        return f"{cut}; {AGAIN}"
    if isinstance(error, pickle.UnpicklingError):
        if (protocol := zip_check.protocol_of(file)) > 2:
            return (
                f"saved with pickle protocol {protocol}, and only protocol 2, the default of torch.save, is read: save "
                f"it again without pickle_protocol"
            )
        unknown = re.search(r"Unsupported operand (\d+)", str(error))
        if unknown and int(unknown[1]) not in CALLING:
            return f"damaged: its list of tensors has a byte that torch never writes; {AGAIN}"
        return (
            f"asks for more than tensors when it is read, so it was not run ({_asked_for(error)}). "
            f"Save its state_dict() alone, or as safetensors, where you trust it"
        )
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return f"asks for far more memory than a file of {size} bytes should"
    return f"cannot be read as weights ({type(error).__name__}: {first_line(error)}); {AGAIN}"


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
