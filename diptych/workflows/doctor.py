"""What this machine can do, before a day of training depends on it.

diptych doctor runs/
"""

import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diptych.errors import DiptychError
from diptych.methods import find
from diptych.settings.train_config import TrainConfig
from diptych.system.atomic_files import write_probe
from diptych.system.distributed import Ranks, choose_device
from diptych.system.hardware import is_out_of_memory, precision_for, tune_kernels
from diptych.training.cuda_graphs import CudaCapture
from diptych.training.engine import Engine

PROBED: dict[str, Any] = {}  # settings of pix2pix over those of its paper, which have 256 pixels and batch 1
STEPS = 80_000  # of the paper's run on facades
LEAST = 2 * 2**30  # bytes that a run of such networks needs for its checkpoints
SHARED = Path("/dev/shm")
FOR_NCCL = 2**30  # bytes of it that nccl is said to need: `--shm-size=1g` in NVIDIA's manual


@dataclass(frozen=True)
class Finding:
    """One line of the report. `wrong` if training here would fail."""

    what: str
    found: str
    wrong: bool = False


def examine(folder: Path, device: str = "auto", seconds: float = 10.0) -> Iterator[Finding]:
    """The machine, torch, the device, what `auto` chooses there, the folder for runs, and how fast a step is."""
    yield Finding("machine", f"{platform.platform()}, {os.cpu_count()} cores, {_memory()}")
    yield Finding("python, torch", f"{platform.python_version()}, {torch.__version__}")
    try:
        chosen = choose_device(device)
    except DiptychError as error:
        yield Finding("device", str(error), wrong=True)
        return
    yield Finding("device", _described(chosen))
    precision, why = precision_for(chosen)
    yield Finding("precision=auto", f"{precision}: {why}")
    yield _writable(folder)
    if sys.platform == "linux":
        yield _shared_memory(torch.cuda.device_count() if chosen.type == "cuda" else 0)
    try:
        yield from _speed(chosen, precision, seconds)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        yield Finding("speed", "out of memory: networks of this size do not fit beside what else runs here", wrong=True)


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory"
    except (ValueError, OSError):
        return "memory of unknown size"


def _described(device: torch.device) -> str:
    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads (torch sees no GPU)"
    free, total = torch.cuda.mem_get_info(device)
    return (
        f"{device}: {torch.cuda.get_device_name(device)}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free, "
        f"{torch.cuda.device_count()} in all"
    )


def _writable(folder: Path) -> Finding:
    """Whether a run could be kept there; nothing is left behind."""
    there = folder
    try:
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        began = time.perf_counter()
        write_probe(there)
        took = time.perf_counter() - began
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding("run folder", f"{there}: cannot be written ({error}); choose another one", wrong=True)
    room = f"{there}: writable in {1000 * took:.0f} ms, {free / 2**30:.1f} GiB free"
    if free < LEAST:
        return Finding("run folder", f"{room}, and a run takes some {LEAST >> 30}: make room", wrong=True)
    return Finding("run folder", room)


def _shared_memory(gpus: int) -> Finding:
    """The size of /dev/shm, which containers make small. Processes on several GPUs need it, data workers do not."""
    try:
        usage = shutil.disk_usage(SHARED)
    except OSError as error:
        return Finding("shared memory", f"{SHARED}: not there ({error}); data workers do not need it", wrong=gpus > 1)
    found = f"{SHARED}: {usage.total / 2**20:,.0f} MiB, {usage.free / 2**20:,.0f} MiB free; data workers do not need it"
    if gpus > 1 and usage.free < FOR_NCCL:
        found += f", but nccl between {gpus} GPUs does: give a container more by `docker run --shm-image_size=1g`"
    return Finding("shared memory", found)


def _speed(device: torch.device, precision: str, seconds: float) -> Iterator[Finding]:
    """Steps of pix2pix as in its paper, in both precisions by turns, for so many seconds."""
    tune_kernels(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    method = find("pix2pix")
    engines = {
        each: Engine(
            method(method.Config(**PROBED)),
            TrainConfig(precision=each),
            ranks=Ranks(device=device),
            capture=CudaCapture() if device.type == "cuda" else None,
        )
        for each in ("fp32", "bf16")
    }
    batch = {name: torch.rand(1, 3, 256, 256) * 2 - 1 for name in method.batch}
    times: dict[str, list[float]] = {each: [] for each in engines}
    for engine in engines.values():
        for _ in range(4 if device.type == "cuda" else 1):
            engine.train_step(batch)
        engine.verify()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not times["bf16"]:
        for each, engine in engines.items():
            began = time.perf_counter()
            engine.train_step(batch)
            engine.verify()
            times[each].append(time.perf_counter() - began)
    step = {each: statistics.median(values) for each, values in times.items()}
    days = step[precision] * STEPS / 86_400
    yield Finding(
        "speed",
        f"pix2pix at 256 pixels, batch 1: {1 / step[precision]:.2f} steps/s in {precision}; its paper's run on facades "
        f"({STEPS:,} steps) would take {f'{days:.1f} days' if days > 1 else f'{24 * days:.1f} hours'}",
    )
    other = "fp32" if precision == "bf16" else "bf16"
    better = step[other] < 0.9 * step[precision]
    advice = f": give precision={other} here" if better else ""
    yield Finding("precision", f"bf16 takes {step['bf16'] / step['fp32']:.2f} of the time of fp32{advice}")
