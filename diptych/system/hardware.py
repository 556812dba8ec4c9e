"""What the machine at hand has, and what to make of it: precision, memory, and what to say when memory is short."""

import ctypes
import os
import resource
import sys
from pathlib import Path

import torch

# What a RuntimeError says where memory was short: CPUs, CUDA, cuBLAS, cuDNN.
SHORT = ("can't allocate memory", "not enough memory", "could not create a memory", "out of memory", "ALLOC_FAILED")


def precision_for(device: torch.device) -> tuple[str, str]:
    """What `precision=auto` chooses, fp32 or bf16, and why.

    By what the device has, not by a stopwatch: on a busy machine that would choose otherwise from run to run, and one
    seed would not give one result. `diptych doctor` measures whole steps, and says if the choice is wrong here.
    """
    if device.type == "cuda":
        has, what = torch.cuda.is_bf16_supported(including_emulation=False), torch.cuda.get_device_name(device)
    else:
        has, what = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported(), "this CPU"
    return ("bf16", f"{what} has bf16 instructions") if has else ("fp32", f"{what} has no bf16 instructions")


def tune_kernels(device: torch.device) -> None:
    """Settings of the whole process that make training faster: on a GPU, kernels are chosen by trial."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    else:
        keep_freed_memory()


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed for the next step instead of giving it back to the system.

    Each step asks for the same large pieces again; giving back and fetching them anew costs a step on a CPU up to a
    quarter of its time. The peak stays the same. True where the library can be told so (glibc).
    """
    if sys.platform != "linux":
        return False
    try:
        tell = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    trim_threshold, mmap_threshold = -1, -3
    kept = any(tell(mmap_threshold, size) for size in (2**30, 2**25))  # older ones take 32 MiB at most
    return bool(kept and tell(trim_threshold, 2**31 - 1))


def peak_gib(device: torch.device) -> float:
    """The most memory taken so far: on a GPU by tensors, else by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform == "linux":  # getrusage begins with the peak of whoever started this process
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


def free_gib() -> float:
    """What another training could take: of the GPU where there is one, else of the machine."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0] / 2**30
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**20
    except (OSError, StopIteration):  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**31


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was short."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SHORT)
