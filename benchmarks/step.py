"""Time and memory of one training step: our engine against the textbook loop, each in a process of its own, in turns.

python benchmarks/step.py                     # writes benchmarks/step.md
"""

import argparse
import statistics
import subprocess
import sys
import time

import table
import textbook
import torch
from torch import nn

from diptych.contract import Method, MethodConfig, Player, Stage
from diptych.methods.cyclegan import CycleGAN
from diptych.methods.pix2pix import Pix2Pix
from diptych.settings.train_config import TrainConfig
from diptych.system.distributed import Ranks, choose_device
from diptych.system.hardware import peak_gib, precision_for, tune_kernels
from diptych.training.cuda_graphs import CudaCapture
from diptych.training.engine import Engine

STEPS = "method | pixels | textbook, s | fp32, s | textbook / fp32 | auto, s | textbook / auto"
MEMORY = "method | pixels | textbook, GiB | fp32, GiB | auto, GiB"
EMPTY = "an empty method | ms a step"
LEAD = """Batch 1, our engine in float32 and in what `precision=auto` chooses ({auto}), against the textbook loop of
`textbook.py` in float32: each in a process of its own, one step in turns ({rounds} rounds). Absolute times depend on
the machine; the ratios, medians over the rounds, are what to read (above 1: ours is faster). Memory is the peak of the
whole process on a CPU, of tensors on a GPU. An empty method has one weight: its time is the overhead of the
engine."""


class Empty(Method):
    """Has one weight, so that the time of a step is that of the engine."""

    batch, routes, inference_networks = (), (), ()

    def __init__(self):
        super().__init__(MethodConfig())
        self.net = nn.Linear(1, 1)

    def stages(self):
        return [Stage("train", 1_000_000, self.updates, {"G": Player((self.net,))})]

    def updates(self, batch, clock):
        yield "G", {"x": self.net(batch["x"]).mean()}


def ours(method, size, device, precision):
    tune_kernels(device)  # as `diptych train` does
    if method == "pix2pix":
        net = Pix2Pix(Pix2Pix.Config(generator=f"unet_{size}", dropout="repo"))
    else:
        net = CycleGAN(CycleGAN.Config(generator="resnet_9" if size >= 256 else "resnet_6", lambda_identity=0.5))
    capture = CudaCapture() if device.type == "cuda" else None
    return Engine(net, TrainConfig(precision=precision), ranks=Ranks(device=device), capture=capture).train_step


def theirs(method, size, device):
    return (textbook.Pix2Pix if method == "pix2pix" else textbook.CycleGAN)(size, device).step


def worker(side, method, size, device):
    """Take a step whenever a line comes in, and answer with its seconds; at the end, with the peak of memory."""
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True  # as the public codes have it
    names = ("source", "target") if method == "pix2pix" else ("a", "b")
    batch = {name: torch.rand(1, 3, size, size, device=device) * 2 - 1 for name in names}
    step = theirs(method, size, device) if side == "textbook" else ours(method, size, device, side)
    for _ in range(6 if device.type == "cuda" else 2):
        step(batch)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        step(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()
        print(time.perf_counter() - began, flush=True)
    print(peak_gib(device))


def measure(method, size, device, rounds):
    """Seconds of every round by side, and peaks of memory."""
    sides = ("textbook", "fp32", precision_for(device)[0])
    command = [sys.executable, __file__, "--worker", method, str(size), "--device", str(device)]
    workers = {
        side: subprocess.Popen([*command, "--side", side], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for side in dict.fromkeys(sides)
    }
    for each in workers.values():
        assert each.stdout.readline() == "ready\n", "a worker failed"
    times = {side: [] for side in workers}
    for _ in range(rounds):
        for side, each in workers.items():
            time.sleep(0.05)  # the threads of the other one go to sleep
            print(file=each.stdin, flush=True)
            times[side].append(float(each.stdout.readline()))
    peaks = {side: float(each.communicate()[0]) for side, each in workers.items()}
    return [times[side] for side in sides], [peaks[side] for side in sides]


def overhead(steps=2000):
    """Milliseconds of a step of the empty method: by the engine, and by hand."""
    torch.set_num_threads(1)
    batch, net = {"x": torch.ones(1, 1)}, nn.Linear(1, 1)
    adam, engine = torch.optim.Adam(net.parameters()), Engine(Empty())

    def by_hand(batch):
        adam.zero_grad()
        loss = net(batch["x"]).mean()
        loss.backward()
        adam.step()
        loss.item()

    times = {"by the engine": [], "by hand": []}
    for number in range(steps + 100):
        for name, step in zip(times, (engine.train_step, by_hand), strict=True):
            began = time.perf_counter()
            step(batch)
            if number >= 100:
                times[name].append(time.perf_counter() - began)
    return [[name, f"{1000 * statistics.median(values):.2f}"] for name, values in times.items()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--worker", nargs=2)
    parser.add_argument("--side")
    options = parser.parse_args()
    device = choose_device(options.device)
    if options.worker:
        worker(options.side, options.worker[0], int(options.worker[1]), device)
        return
    steps, memory = [], []
    for method in ("pix2pix", "cyclegan"):
        for size in options.sizes:
            (by_hand, fp32, auto), peaks = measure(method, size, device, options.rounds)
            ratios = [statistics.median(a / b for a, b in zip(by_hand, mine, strict=True)) for mine in (fp32, auto)]
            seconds = [f"{statistics.median(each):.3f}" for each in (by_hand, fp32, auto)]
            steps.append(
                [method, str(size), seconds[0], seconds[1], f"{ratios[0]:.2f}", seconds[2], f"{ratios[1]:.2f}"]
            )
            memory.append([method, str(size), *(f"{peak:.2f}" for peak in peaks)])
            print(*steps[-1], *memory[-1][2:], sep="\t", flush=True)
    lead = LEAD.format(auto=precision_for(device)[0], rounds=options.rounds)
    table.leave(__file__, "One training step", lead, {STEPS: steps, MEMORY: memory, EMPTY: overhead()})


if __name__ == "__main__":
    main()
