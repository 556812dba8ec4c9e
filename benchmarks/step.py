"""Time of one training step: our engine against the textbook loop, in turns in one process; medians of the ratios.

python benchmarks/step.py --sizes 64 128      # writes benchmarks/step.md
"""

import argparse
import platform
import statistics
import sys
import time
from pathlib import Path

import textbook
import torch

from diptych.engine.ranks import Ranks, choose_device
from diptych.engine.step import Engine
from diptych.files import write_text
from diptych.methods.cyclegan import CycleGAN
from diptych.methods.pix2pix import Pix2Pix

COLUMNS = ("method", "pixels", "precision", "textbook, s", "ours, s", "textbook / ours")


def ours(method, size, device, precision):
    if method == "pix2pix":
        net = Pix2Pix(Pix2Pix.Config(generator=f"unet_{size}", dropout="repo"))
    else:
        net = CycleGAN(CycleGAN.Config(generator="resnet_9" if size >= 256 else "resnet_6", identity=0.5))
    return Engine(net, precision=precision, ranks=Ranks(device=device))


def theirs(method, size, device):
    return (textbook.Pix2Pix if method == "pix2pix" else textbook.CycleGAN)(size, device)


def seconds(step, batch, device, steps):
    began = time.perf_counter()
    for _ in range(steps):
        step(batch)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps


def measure(method, size, precision, device, rounds, steps):
    """The row of one table line; both sides are warmed up, then take turns."""
    torch.manual_seed(0)
    names = ("source", "target") if method == "pix2pix" else ("a", "b")
    batch = {name: torch.rand(1, 3, size, size, device=device) * 2 - 1 for name in names}
    engine, loop = ours(method, size, device, precision), theirs(method, size, device)
    sides = {"textbook": loop.step, "ours": engine.take}
    for step in sides.values():
        seconds(step, batch, device, 2)
    times = [{name: seconds(step, batch, device, steps) for name, step in sides.items()} for _ in range(rounds)]
    medians = [statistics.median(row[name] for row in times) for name in sides]
    ratio = statistics.median(row["textbook"] / row["ours"] for row in times)
    return [method, str(size), precision, *(f"{value:.3f}" for value in medians), f"{ratio:.2f}"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    rows = []
    for method in ("pix2pix", "cyclegan"):
        for size in options.sizes:
            for precision in options.precisions:
                rows.append(measure(method, size, precision, device, options.rounds, options.steps))
                print(*rows[-1], sep="\t", flush=True)
    machine = (
        torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.processor() or platform.machine()} CPU"
    )
    lines = [
        "# One training step",
        "",
        "Batch 1, our engine against the textbook loop of `textbook.py` in float32, in turns.",
        "Absolute times depend on the machine; the last column is what to read (above 1: ours is faster).",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}.",
        f"Command: `python {' '.join(sys.argv)}`",
        "",
    ]
    write_text(Path(__file__).with_suffix(".md"), "\n".join(lines))


if __name__ == "__main__":
    main()
