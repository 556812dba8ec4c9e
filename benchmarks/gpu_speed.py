"""Parts (b) and (c) of `gpu.py`: speed and memory of whole steps against textbook loops, and of the data loader."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import textbook
import torch
from table import DATA
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torchvision import models

from diptych.contract import Labels, Method
from diptych.data.batches import Batches
from diptych.data.dataset import Split
from diptych.data.image_columns import ImageFiles
from diptych.data.images import image_io
from diptych.data.images.transforms import Augment
from diptych.data.sources.folders import images_in
from diptych.evaluation.feature_networks import VggFeatures
from diptych.methods import find
from diptych.settings.train_config import TrainConfig
from diptych.system.distributed import Ranks
from diptych.system.hardware import peak_gib, tune_kernels
from diptych.training.cuda_graphs import CudaCapture
from diptych.training.engine import Engine

COLUMNS = "method | batch | side | steps/s | textbook / this | TFLOP/s | share of the bf16 peak | peak GiB"
LOADER_COLUMNS = "batch | workers | loader, pairs/s | pix2pix in bf16 with graphs, pairs/s | loader / step"
METHODS = ("pix2pix", "cyclegan", "cut", "starganv2", "munit", "srgan")
SIDES = ("textbook", "fp32", "bf16", "fp32 graphs", "bf16 graphs")
BATCHES = (1, 16)
LABELS = (Labels(names=("a", "b", "c")),)
PEAKS = {"H200": 989.5, "H100": 989.5, "A100": 312.0}  # TFLOP/s of bf16 without sparsity, from NVIDIA's data sheets
WARM_STEPS = 6  # three eager ones, the capture, and two replays


class Scale(NamedTuple):
    """How large the networks and images are, and how long a measurement takes."""

    size: int = 256
    width: int = 64
    seconds: float = 1.5
    batches: tuple[int, ...] = BATCHES
    cpu_warm_steps: int = 1


SMOKE = Scale(size=32, width=4, seconds=0.0, batches=(1,), cpu_warm_steps=0)


class Flops(TorchDispatchMode):
    """Counts floating-point operations by torch's formulas. `FlopCounterMode` itself fails on second derivatives."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def config_of(name: str, scale: Scale, published: bool = False) -> dict[str, Any]:
    """Return the settings of a method: the paper's, at this size; `published` without reuse of forward passes."""
    sizes: dict[str, Any] = {"ngf": scale.width, "ndf": scale.width}
    no_reuse = {"reuse": "none"} if published else {}
    return {
        "pix2pix": {**sizes, "generator": f"unet_{scale.size}", "dropout": "repo"},
        "cyclegan": {**sizes, "generator": "resnet_9" if scale.size >= 256 else "resnet_6", "lambda_identity": 0.5},
        "cut": {**sizes, **no_reuse},
        "starganv2": {"ngf": scale.width, "max_channels": 8 * scale.width, "image_size": scale.size, "labels": LABELS}
        | no_reuse,
        "munit": {**sizes, "image_size": scale.size, "d_layers": 4 if scale.size >= 256 else 2, **no_reuse},
        "srgan": {**sizes, "image_size": scale.size, "pretrain_steps": 0},
    }[name]


def method_of(name: str, scale: Scale, device: torch.device, published: bool = False) -> Method:
    """Return a method on the device, SRGAN with a random VGG19, which takes as long as a trained one."""
    cls = find(name)
    method = cls(cls.Config(**config_of(name, scale, published))).to(device)
    if name == "srgan":
        method.perceptual["features"] = random_vgg19(device)
    return method


def random_vgg19(device: torch.device) -> VggFeatures:
    """Return VGG19's convolutions with random weights; its large linear layers are never allocated."""
    with torch.device("meta"):
        features = models.vgg19(init_weights=False).features
    features = features.to_empty(device=device).requires_grad_(False)
    for weight in features.parameters():
        weight.normal_(0, 0.02)
    return VggFeatures(features)


def batch_of(method: Method, scale: Scale, count: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Return random images, and labels for the entries of that name."""
    shape = (count, 3, scale.size, scale.size)
    return {
        name: torch.randint(3, (count,), device=device)
        if name in ("label", "target") and "image" in method.batch
        else torch.rand(shape, device=device) * 2 - 1
        for name in method.batch
    }


def step_of(name: str, side: str, scale: Scale, device: torch.device) -> tuple[Callable, Method]:
    """Return the function that takes a step, and the method whose batches it takes."""
    torch.manual_seed(0)
    tune_kernels(device)  # as `diptych train` does
    method = method_of(name, scale, device, published=side == "textbook")
    if side == "textbook":
        loop = {"pix2pix": textbook.Pix2Pix, "cyclegan": textbook.CycleGAN}.get(name)
        made = loop(scale.size, device, scale.width) if loop else textbook.UpdateRule(method)
        return made.step, method
    precision, _, more = side.partition(" ")
    capture = CudaCapture() if more == "graphs" and device.type == "cuda" else None
    engine = Engine(method, TrainConfig(precision=precision), ranks=Ranks(device=device), capture=capture)
    engine.start_stage(len(engine.stages) - 1)
    if more == "compile":
        engine.compile()
    return engine.train_step, method


def seconds_a_step(step: Callable[[], None], device: torch.device, seconds: float) -> float:
    """Return the median over three blocks of the seconds of a step. A block waits for the device once, at its end."""

    def block(steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / steps

    once = block(1 if not seconds else 3)
    return statistics.median(block(max(1, int(seconds / 3 / once))) for _ in range(3)) if seconds else once


def measure(name: str, side: str, count: int, scale: Scale, device: torch.device) -> tuple[float, float, float]:
    """Return the seconds of a step, its TFLOP (0 if they cannot be counted), and the peak memory in GiB."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    step, method = step_of(name, side, scale, device)
    batch = batch_of(method, scale, count, device)
    tera = 0.0
    if side in ("textbook", "fp32", "bf16"):  # graphs and compiled networks compute the same as these
        with Flops() as counted:
            step(batch)
        tera = counted.total / 1e12
    for _ in range(WARM_STEPS if device.type == "cuda" else scale.cpu_warm_steps):
        step(batch)
    return seconds_a_step(lambda: step(batch), device, scale.seconds), tera, peak_gib(device) or 0.0


def steps(
    device: torch.device, scale: Scale, names: tuple[str, ...] = METHODS, sides: tuple[str, ...] = SIDES
) -> Iterator[list[str]]:
    """Yield a row for each method, batch size and side; a side that fails gives a row with its error."""
    for name in names:
        for count in scale.batches:
            textbook_seconds, flops = 0.0, {}
            for side in sides:
                try:
                    seconds, tera, gib = measure(name, side, count, scale, device)
                except Exception as error:  # such as memory that runs out: the other sides go on
                    yield [name, str(count), side, f"{type(error).__name__}: {str(error)[:80]}", *[""] * 4]
                    continue
                textbook_seconds = seconds if side == "textbook" else textbook_seconds
                flops[side] = tera
                tera = tera or flops.get(side.partition(" ")[0], 0.0)
                yield [name, str(count), side, *_cells(seconds, textbook_seconds, tera, gib, device)]


def _cells(seconds: float, textbook_seconds: float, tera: float, gib: float, device: torch.device) -> list[str]:
    peak = peak_tflops(device)
    return [
        f"{1 / seconds:.2f}",
        f"{textbook_seconds / seconds:.2f}" if textbook_seconds else "",
        f"{tera / seconds:.1f}" if tera else "",
        f"{100 * tera / seconds / peak:.1f} %" if tera and peak else "",
        f"{gib:.2f}",
    ]


def peak_tflops(device: torch.device) -> float | None:
    """Return the bf16 peak of the GPU in TFLOP/s, None if it is not in `PEAKS`."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for model, peak in PEAKS.items() if model in name), None)


# Part (c)


def made_pairs(folder: Path, count: int = 64) -> tuple[Path, ...]:
    """Write JPEG files of 512 x 256 pixels with two smooth pictures side by side, as facades has them."""
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = image_io.resize(random.integers(0, 256, (16, 32, 3), np.uint8), 256, 512)
        noise = random.integers(-9, 10, coarse.shape)
        image_io.write(folder / f"{number}.jpg", np.clip(coarse + noise, 0, 255).astype(np.uint8))
    return images_in(folder)


def loader(device: torch.device, scale: Scale, folder: Path, smoke: bool = False) -> Iterator[list[str]]:
    """Yield a row for each batch size and number of workers: pairs per second of the loader, and of a step."""
    files = images_in(DATA / "facades" / "train") if not smoke else ()
    files = files or made_pairs(folder, 4 if smoke else 64)
    columns = {"source": ImageFiles(files, 1), "target": ImageFiles(files, 0)}
    load_size = scale.size * 286 // 256
    for count in scale.batches:
        seconds, _, _ = measure("pix2pix", "bf16 graphs", count, scale, device)
        batches = Batches(
            Split(columns, aligned=True), dict.fromkeys(columns, 3), Augment(load_size, scale.size), count
        )
        for workers in (1,) if smoke else (1, 4, 12):
            rate = pairs_per_second(batches, workers, max(0.1, 2 * scale.seconds), device.type == "cuda")
            row = [str(count), str(workers), f"{rate:.0f}", f"{count / seconds:.0f}", f"{rate * seconds / count:.2f}"]
            yield row


def pairs_per_second(batches: Batches, workers: int, seconds: float, pin: bool) -> float:
    """Return the samples per second of the loader, without the start of its processes."""
    stream = batches.stream(0, 10**9, workers, pin)
    for _ in range(2 * workers):
        next(stream)
    began, taken = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        next(stream)
        taken += batches.size
    elapsed = time.perf_counter() - began
    stream.close()
    return taken / elapsed
