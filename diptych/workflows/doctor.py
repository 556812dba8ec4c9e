"""Check what this machine can do before a long training: `diptych doctor runs/`."""

import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from diptych.errors import DiptychError
from diptych.methods import find
from diptych.settings.train_config import TrainConfig
from diptych.system.atomic_files import write_probe
from diptych.system.distributed import Ranks, choose_device
from diptych.system.hardware import is_out_of_memory, precision_for, total_gib, tune_kernels
from diptych.training.cuda_graphs import CudaCapture
from diptych.training.engine import Engine

BENCHMARK: dict[str, Any] = {}  # changes to the settings of pix2pix's paper: 256 pixels, batch size 1
PAPER_STEPS = 80_000  # of the paper's training on facades
CHECKPOINT_BYTES = 2 * 2**30  # disk space for the checkpoints of such a run
PRECISIONS: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")
SHARED_MEMORY = Path("/dev/shm")
NCCL_BYTES = 2**30  # of shared memory for nccl: `--shm-size=1g` in NVIDIA's manual


@dataclass(frozen=True)
class Diagnosis:
    """One line of the report; `is_problem` if training would fail because of it."""

    subject: str
    text: str
    is_problem: bool = False


def diagnose(folder: Path, device: str = "auto", seconds: float = 10.0) -> Iterator[Diagnosis]:
    """Yield findings on machine, versions, device, precision, run folder, shared memory and speed.

    The speed is measured for `seconds`.
    """
    yield Diagnosis("machine", f"{platform.platform()}, {os.cpu_count()} cores, {_memory()}")
    yield Diagnosis("python, torch", f"{platform.python_version()}, {torch.__version__}")
    try:
        chosen = choose_device(device)
    except DiptychError as error:
        yield Diagnosis("device", str(error), is_problem=True)
        return
    yield Diagnosis("device", _describe_device(chosen))
    precision, reason = precision_for(chosen)
    yield Diagnosis("precision=auto", f"{precision}: {reason}")
    yield _check_folder(folder)
    if sys.platform == "linux":
        yield _check_shared_memory(torch.cuda.device_count() if chosen.type == "cuda" else 0)
    try:
        yield from _measure_speed(chosen, precision, seconds)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        yield Diagnosis("speed", "out of memory: pix2pix at 256 pixels does not fit beside other programs", True)


def _memory() -> str:
    total = total_gib()
    return "memory of unknown size: pip install 'diptych[windows]'" if total is None else f"{total:.0f} GiB of memory"


def _describe_device(device: torch.device) -> str:
    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads (torch sees no GPU)"
    free, total = torch.cuda.mem_get_info(device)
    return (
        f"{device}: {torch.cuda.get_device_name(device)}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free, "
        f"{torch.cuda.device_count()} in all"
    )


def _check_folder(folder: Path) -> Diagnosis:
    """Check that the folder for runs can be written and has enough free space; leave nothing in it."""
    existing = folder
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        start = time.perf_counter()
        write_probe(existing)
        duration = time.perf_counter() - start
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Diagnosis("run folder", f"{existing}: cannot be written ({error}); choose another one", is_problem=True)
    text = f"{existing}: writable in {1000 * duration:.0f} ms, {free / 2**30:.1f} GiB free"
    if free < CHECKPOINT_BYTES:
        return Diagnosis("run folder", f"{text}, and a run needs about {CHECKPOINT_BYTES >> 30}: make room", True)
    return Diagnosis("run folder", text)


def _check_shared_memory(num_gpus: int) -> Diagnosis:
    """Check /dev/shm, which is small in containers. Training on several GPUs needs it, data workers do not."""
    try:
        usage = shutil.disk_usage(SHARED_MEMORY)
    except OSError as error:
        text = f"{SHARED_MEMORY}: does not exist ({error}); data workers do not need it"
        return Diagnosis("shared memory", text, is_problem=num_gpus > 1)
    text = (
        f"{SHARED_MEMORY}: {usage.total / 2**20:,.0f} MiB, {usage.free / 2**20:,.0f} MiB free; "
        f"data workers do not need it"
    )
    if num_gpus > 1 and usage.free < NCCL_BYTES:
        text += f", but nccl between {num_gpus} GPUs does: start a container with `docker run --shm-size=1g`"
    return Diagnosis("shared memory", text)


def _measure_speed(device: torch.device, precision: str, seconds: float) -> Iterator[Diagnosis]:
    """Yield the speed of pix2pix as in its paper, and how both precisions compare, measured in turns."""
    tune_kernels(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    medians = _median_seconds(device, seconds)
    days = medians[precision] * PAPER_STEPS / 86_400
    duration = f"{days:.1f} days" if days > 1 else f"{24 * days:.1f} hours"
    yield Diagnosis(
        "speed",
        f"pix2pix at 256 pixels, batch size 1: {1 / medians[precision]:.2f} steps/s in {precision}; the paper's "
        f"training on facades ({PAPER_STEPS:,} steps) would take {duration}",
    )
    other = "fp32" if precision == "bf16" else "bf16"
    advice = f": use precision={other} here" if medians[other] < 0.9 * medians[precision] else ""
    ratio = medians["bf16"] / medians["fp32"]
    yield Diagnosis("precision", f"a step in bf16 takes {ratio:.2f} of the time of fp32{advice}")


def _median_seconds(device: torch.device, seconds: float) -> dict[str, float]:
    """Return the median time of a step by precision."""
    method = find("pix2pix")
    engines = {
        precision: Engine(
            method(method.Config(**BENCHMARK)),
            TrainConfig(precision=precision),
            ranks=Ranks(device=device),
            capture=CudaCapture() if device.type == "cuda" else None,
        )
        for precision in PRECISIONS
    }
    batch = {name: torch.rand(1, 3, 256, 256) * 2 - 1 for name in method.batch}
    times: dict[str, list[float]] = {precision: [] for precision in engines}
    for engine in engines.values():
        for _ in range(4 if device.type == "cuda" else 1):
            engine.train_step(batch)
        engine.verify()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not times["bf16"]:
        for precision, engine in engines.items():
            start = time.perf_counter()
            engine.train_step(batch)
            engine.verify()
            times[precision].append(time.perf_counter() - start)
    return {precision: statistics.median(values) for precision, values in times.items()}
