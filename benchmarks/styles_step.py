"""Time and memory of a step of MUNIT and of CUT: the public order, ours with fewer passes, and CycleGAN, in turns.

python benchmarks/styles_step.py                     # writes benchmarks/styles_step.md
"""

import argparse
import statistics
import sys

import table
import torch
import turns

from diptych.methods.cut import CUT
from diptych.methods.cyclegan import CycleGAN
from diptych.methods.munit import MUNIT
from diptych.settings.train_config import TrainConfig
from diptych.system.distributed import Ranks, choose_device
from diptych.system.hardware import tune_kernels
from diptych.training.engine import Engine

SIDES = {
    "munit": ("none", "public", "exact", "max"),
    "cut": ("none", "exact"),
    "horses": ("CycleGAN", "CUT", "FastCUT"),
}
COLUMNS = "what | pixels | batch | side | seconds | first / this | M weights | GiB"
LEAD = """One step of each in turns ({rounds} rounds), {precision}, {width} channels at full size, each in its own
process. **none**, **exact** and **max** are values of `reuse`. **none** encodes again in each update; **public**
(MUNIT) also computes unused style codes, with a graph. **exact**, the default, encodes contents once for both updates
and builds no graph for D's images (MUNIT), or takes the features of sources from their translation (CUT). **max**
(MUNIT) samples styles once for both updates. Losses of none and exact are equal in float64
(`tests/methods/test_munit.py`, `test_cut.py`). **horses** compares three methods with generators of six blocks.
Ratios are medians over the rounds; above 1, this is faster than the first. Weights are those of all trained networks.
Memory is the peak of the process on a CPU, of tensors on a GPU."""


class Public(MUNIT):
    """Also runs the style encoders in both updates, as the public code does."""

    def contents(self, a, b):
        self.G_a.style(a), self.G_b.style(b)
        return super().contents(a, b)


def made(method, side, options):
    """Return the method of a side of the comparison."""
    sizes = {"ngf": options.width, "ndf": options.width}
    if side == "CycleGAN":
        return CycleGAN(CycleGAN.Config(generator="resnet_6", **sizes))
    if side in ("CUT", "FastCUT"):
        return CUT(CUT.Config(n_blocks=6, **sizes, **CUT.presets["fast" if side == "FastCUT" else "paper"]))
    sizes["reuse"] = "none" if side == "public" else side
    if method == "cut":
        return CUT(CUT.Config(**sizes))
    cls = Public if side == "public" else MUNIT
    return cls(cls.Config(image_size=options.size, d_layers=3, **sizes))


def worker(options, device):
    torch.manual_seed(0)
    tune_kernels(device)
    method = made(options.method, options.side, options)
    engine = Engine(method, TrainConfig(precision=options.precision), ranks=Ranks(device=device))
    shape = (options.batch, 3, options.size, options.size)
    batch = {name: torch.rand(shape, device=device) * 2 - 1 for name in "ab"}
    turns.answer(lambda: engine.train_step(batch), device, warm=4 if device.type == "cuda" else 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--method", choices=tuple(SIDES), help="used by the benchmark itself, as --side")
    parser.add_argument("--side")
    options = parser.parse_args()
    if options.side:
        worker(options, choose_device(options.device))
        return
    rows = []
    for method, sides in SIDES.items():
        commands = {
            side: [sys.executable, __file__, *sys.argv[1:], "--method", method, "--side", side] for side in sides
        }
        times, peaks = turns.measure(commands, options.rounds)
        for side in sides:
            seconds, faster = statistics.median(times[side]), turns.ratio(times[sides[0]], times[side])
            sizes = [method, str(options.size), str(options.batch)]
            weights = sum(weight.numel() for weight in made(method, side, options).parameters())
            rows.append([*sizes, side, f"{seconds:.3f}", f"{faster:.3f}", f"{weights / 1e6:.2f}", f"{peaks[side]:.2f}"])
            print(*rows[-1], sep="\t", flush=True)
    lead = LEAD.format(rounds=options.rounds, precision=options.precision, width=options.width)
    table.leave(__file__, "A step of MUNIT, CUT and CycleGAN", lead, {COLUMNS: rows})


if __name__ == "__main__":
    main()
