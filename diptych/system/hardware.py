"""Hardware: the precision that a device supports, memory, and out-of-memory errors."""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import torch

# Parts of the messages of a RuntimeError that means out of memory: on CPUs, CUDA, cuBLAS, cuDNN.
OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "could not create a memory",
    "out of memory",
    "ALLOC_FAILED",
)


def precision_for(device: torch.device) -> tuple[str, str]:
    """Return what `precision=auto` selects on a device, `fp32` or `bf16`, and the reason.

    The choice depends on the device's instructions, not on a measurement: on a busy machine that would vary from run
    to run, and one seed would not give one result. `diptych doctor` measures both.
    """
    if device.type == "cuda":
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
        name = torch.cuda.get_device_name(device)
    else:
        supported = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        name = "this CPU"
    return ("bf16", f"{name} has bf16 instructions") if supported else ("fp32", f"{name} has no bf16 instructions")


def tune_kernels(device: torch.device) -> None:
    """Apply process-wide settings for faster training: on a GPU, cuDNN benchmarks its kernels."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    else:
        keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory instead of returning it to the system; return whether it can (glibc).

    Each step allocates the same large blocks. Returning and fetching them costs up to a quarter of the time of a step
    on a CPU. The peak stays the same.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    trim_threshold, mmap_threshold = -1, -3
    accepted = any(mallopt(mmap_threshold, size) for size in (2**30, 2**25))  # older versions accept 32 MiB at most
    return bool(accepted and mallopt(trim_threshold, 2**31 - 1))


def peak_gib(device: torch.device) -> float | None:
    """Return the peak memory in GiB: of tensors on a GPU, else of this process; None on Windows without psutil."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform == "linux":  # getrusage includes the peak of the parent process
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        psutil = _psutil()
        return psutil.Process().memory_info().peak_wset / 2**30 if psutil else None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


def free_gib() -> float:
    """Return the free memory in GiB: of the GPU if there is one, else of the machine; 0 on Windows without psutil."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0] / 2**30
    return free_host_gib()


def free_host_gib() -> float:
    """Return the free memory of the machine in GiB, at most the limit of the container; 0 on Windows without psutil."""
    return min([_free_machine_gib(), *_container_limits()])


def _container_limits() -> list[float]:
    """Return the memory limit in GiB that a control group of Linux sets, if there is one."""
    limits = []
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # of version 2 and 1
        with suppress(OSError, ValueError):  # there is no such file, or it says `max`
            limits.append(int(Path(f"/sys/fs/cgroup/{name}").read_text()) / 2**30)
    return limits


def _free_machine_gib() -> float:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**20
    except (OSError, StopIteration):  # not Linux
        psutil = _psutil()
        return psutil.virtual_memory().available / 2**30 if psutil else (total_gib() or 0.0) / 2


def total_gib() -> float | None:
    """Return the memory of the machine in GiB; None where it is unknown, as on Windows without psutil."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, OSError, ValueError):  # Windows has no `sysconf`
        psutil = _psutil()
        return psutil.virtual_memory().total / 2**30 if psutil else None


def _psutil() -> ModuleType | None:
    """Return psutil if it is installed. Only Windows needs it: `pip install 'diptych[windows]'`."""
    try:
        import psutil
    except ImportError:
        return None
    return psutil


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
