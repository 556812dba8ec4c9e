"""What the machine at hand has, and what to make of it: precision, memory, and what to say when memory is short."""

import ctypes
import resource
import sys
import time
from collections.abc import Callable

import torch
from torch import nn


def precision_for(device: torch.device) -> tuple[str, str]:
    """What `precision=auto` chooses, fp32 or bf16, and why.

    By what the device has, not by a stopwatch: on a busy machine that would choose otherwise from run to run, and one
    seed would not give one result. `diptych doctor` measures whether the choice is right here.
    """
    if device.type == "cuda":
        has, what = torch.cuda.is_bf16_supported(including_emulation=False), torch.cuda.get_device_name(device)
    else:
        has, what = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported(), "this CPU"
    return ("bf16", f"{what} has bf16 instructions") if has else ("fp32", f"{what} has no bf16 instructions")


def speed_of_bf16(device: torch.device) -> float:
    """How many times as fast as in fp32 one layer of a usual size is trained, the two in turns; the best of each."""
    layer = nn.Conv2d(64, 128, 4, 2, 1).to(device)
    images = torch.ones(1, 64, 64, 64, device=device, requires_grad=True)
    best = {False: float("inf"), True: float("inf")}
    for _ in range(10):
        for low in best:
            best[low] = min(best[low], _seconds(lambda low=low: _pass(layer, images, low), device))  # type: ignore[misc]
    return best[False] / best[True]


def _pass(layer: nn.Module, images: torch.Tensor, low: bool) -> None:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=low):
        made = layer(images)
    torch.autograd.grad(made.float().sum(), [images, *layer.parameters()])


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    began = time.perf_counter()
    for _ in range(4):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def tune(device: torch.device) -> None:
    """Settings of the whole process that make training faster: on a GPU, kernels are chosen by trial."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    else:
        hold_memory()


def hold_memory() -> bool:
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
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was short: CPUs say it with a RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "not enough memory", "could not create a memory")
    )
