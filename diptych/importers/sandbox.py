"""Child process that reads an untrusted checkpoint file and writes its tensors as safetensors.

    python -m diptych.importers.sandbox FILE FOLDER [NETWORK]     writes FOLDER/weights.safetensors or FOLDER/refused

`torch.load(weights_only=True)` permits only tensors. The sandbox is a second layer of protection, against
vulnerabilities of torch and against files that exhaust memory or CPU time.
"""

import ctypes
import os
import pickle
import re
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
from diptych.importers.file_signatures import DOWNLOAD_AGAIN
from diptych.importers.wrappers import deduplicated, state_of
from diptych.system.safe_parse import check_safetensors

FLOOR = "2.11"  # minimum torch version, as in pyproject.toml: `weights_only` of older ones has known vulnerabilities
SLACK = 2**28  # bytes of memory in addition to twice the file size
WEIGHTS, REFUSED = "weights.safetensors", "refused"
NEWUSER, NEWNET = 0x10000000, 0x40000000  # CLONE_NEWUSER and CLONE_NEWNET of Linux
# INST, OBJ, EXT1, EXT2, EXT4, NEWOBJ_EX, STACK_GLOBAL: calls, not damage
CALL_OPCODES = (105, 111, 130, 131, 132, 146, 147)
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# fmt: off
FORBIDDEN_EVENTS = (
    "socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "os.kill", "pty.",
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "shutil.", "ctypes.dlopen", "ctypes.dlsym",
)  # prefixes of audit events
# fmt: on


def main() -> None:
    """Read the file in `sys.argv` and write its tensors, or the reason for the refusal."""
    path, out = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        with open_regular(path) as file:  # opened first: the sandbox may lose access to files of other users
            confine(out, os.fstat(file.fileno()).st_size)
            weights, metadata = deduplicated(tensors_in(file, path, sys.argv[3] if len(sys.argv) > 3 else None))
            save_file(weights, out / WEIGHTS, metadata)
    except ImportRefused as error:
        message = str(error)
    except Exception as error:
        message = f"{path}: cannot be unpacked ({type(error).__name__}: {first_line(error)})"
    else:
        return
    (out / REFUSED).write_text(printable(message)[:4000], encoding="utf-8")
    sys.exit(1)


def confine(out: Path, size: int) -> None:
    """Restrict this process permanently. `size` is the size of the file in bytes.

    - Resource limits: memory, CPU time and the size of written files. Windows has none.
    - A network namespace without interfaces, where Linux permits it to unprivileged processes.
    - An audit hook that blocks sockets, processes and writes outside `out` by Python code. It does not restrict native
      code, so after an exploit of torch's C++ code only the limits and the namespace remain.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # some containers deny it, which is ignored
            ctypes.CDLL(None).unshare(NEWNET if os.geteuid() == 0 else NEWUSER | NEWNET)
    warnings.simplefilter("ignore")  # torch warns about some files before it refuses them
    _limit_resources(size)
    out_prefix = os.path.realpath(out) + os.sep

    def audit_hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(FORBIDDEN_EVENTS):
            raise PermissionError(f"{event} is forbidden while a foreign file is read")
        if event == "open" and arguments[2] & WRITE_FLAGS and isinstance(arguments[0], str | bytes | os.PathLike):
            target = os.path.realpath(os.fsdecode(arguments[0]))
            if not target.startswith(out_prefix):
                raise PermissionError(f"writing {target} is forbidden while a foreign file is read")

    sys.addaudithook(audit_hook)


def _limit_resources(size: int) -> None:
    """Limit memory, CPU time and the size of written files, where the system can (not on Windows)."""
    try:
        import resource
    except ImportError:
        return
    seconds = cpu_seconds(size) + int(sum(os.times()[:2]))
    for resource_limit, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, size + 2**24),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_DATA, data_bytes() + 2 * size + SLACK if data_bytes() else resource.RLIM_INFINITY),
    ):
        _, hard_limit = resource.getrlimit(resource_limit)
        limit = limit if hard_limit == resource.RLIM_INFINITY else min(limit, hard_limit)
        # a soft CPU limit sends SIGXCPU, which identifies the reason
        resource.setrlimit(resource_limit, (limit, hard_limit if resource_limit == resource.RLIMIT_CPU else limit))


def cpu_seconds(size: int) -> int:
    """Return the limit of CPU time in seconds for a file of `size` bytes."""
    return 30 + size // 2**24


def data_bytes() -> int:
    """Return the data segment size of this process in bytes (Linux), else 0. torch alone has 0.8 GB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData")), 0)


def read_in_process(path: Path, which: str | None = None) -> dict[str, Tensor]:
    """Return the state dict of a file, read in this process. Raises ImportRefused and never unpickles objects."""
    with open_regular(path) as file:
        return tensors_in(file, path, which)


def open_regular(path: Path) -> BinaryIO:
    """Return a regular file opened for reading. Raises ImportRefused."""
    try:
        if message := _describe_non_file(path):
            raise ImportRefused(f"{path}: {message}")
        return path.open("rb")
    except (OSError, ValueError, RuntimeError) as error:
        raise ImportRefused(f"{path}: cannot be opened ({error})") from error


def _describe_non_file(path: Path) -> str | None:
    """Return a message for a path that is not a regular file, else None."""
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
    """Return the validated state dict of an open file. Raises ImportRefused.

    `which` is the name of the network in a file with several networks.
    """
    require_torch()
    where, size = str(path), os.fstat(file.fileno()).st_size
    form = None
    try:
        form = zip_check.check(file, size, where)
        return state_of(_load_object(file, path, form, size), which, size, where)
    except ImportRefused:
        raise
    except Exception as error:  # on damaged files, torch raises AssertionError, struct.error and others
        raise ImportRefused(f"{where}: {_describe_error(error, file, form, size)}") from error


def _load_object(file: BinaryIO, path: Path, form: zip_check.Form, size: int) -> Any:
    """Return the object in a file of the given format."""
    if form == "safetensors":
        check_safetensors(path, zip_check.LARGEST)
        return load_file(path)
    if form == "tar":
        return legacy_torch.tensors_of_tar(file, size, str(path))
    return torch.load(file, map_location="cpu", weights_only=True)


def _describe_error(error: Exception, file: BinaryIO, form: zip_check.Form | None, size: int) -> str:
    """Return the message for a file whose reader failed with `error`."""
    if form == "stream" and (truncation := legacy_torch.cut_stream(file, size)):
        return f"{truncation}; {DOWNLOAD_AGAIN}"
    if isinstance(error, pickle.UnpicklingError):
        if (protocol := zip_check.protocol_of(file)) > 2:
            return (
                f"saved with pickle protocol {protocol}, and only protocol 2, the default of torch.save, is read: save "
                f"it again without pickle_protocol"
            )
        bad_opcode = re.search(r"Unsupported operand (\d+)", str(error))
        if bad_opcode and int(bad_opcode[1]) not in CALL_OPCODES:
            return f"damaged: its list of tensors has a byte that torch never writes; {DOWNLOAD_AGAIN}"
        return (
            f"asks for more than tensors when it is read, so it was not run ({_referenced_global(error)}). "
            f"Save its state_dict() alone, or as safetensors, where you trust it"
        )
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return f"asks for far more memory than a file of {size} bytes should"
    return f"cannot be read as weights ({type(error).__name__}: {first_line(error)}); {DOWNLOAD_AGAIN}"


def require_torch() -> None:
    """Raise ImportRefused if the installed torch is older than `FLOOR`."""
    if TorchVersion(torch.__version__) < FLOOR:
        raise ImportRefused(
            f"torch {torch.__version__} is installed; only from {FLOOR} on are foreign files read without running "
            f"what is in them: pip install 'torch>={FLOOR}'"
        )


def _referenced_global(error: pickle.UnpicklingError) -> str:
    """Return the name of the global that a pickle refers to, without torch's advice to disable `weights_only`."""
    match = re.search(r"GLOBAL (\S+)|Unsupported \w+ \S+", str(error))
    return printable((match[1] or match[0])[:200]) if match else "a pickle with instructions beyond tensors"


def first_line(error: BaseException) -> str:
    """Return the first line of an error message, shortened to 200 characters."""
    return printable((str(error).splitlines() or [""])[0][:200])


if __name__ == "__main__":
    main()
