"""Time of a StarGAN step with and without reuse of forward passes, in turns.

python benchmarks/stargan_step.py                     # writes benchmarks/stargan_step.md

A round is n_critic discriminator steps and one generator step, all the kinds of steps there are.
"""

import argparse
import statistics
import sys

import table
import torch
import turns

from diptych.contract import Labels
from diptych.methods.stargan import StarGAN
from diptych.settings.train_config import TrainConfig
from diptych.system.distributed import Ranks, choose_device
from diptych.system.hardware import tune_kernels
from diptych.training.cuda_graphs import CudaCapture
from diptych.training.engine import Engine

COLUMNS = "pixels | batch | width | none, s | exact, s | none / exact | none, GiB | exact, GiB"
LEAD = """A round is {n_critic} discriminator steps and one generator step. `reuse=none` and `reuse=exact` run the same
networks in {precision} with the same engine, each in its own process, in turns ({rounds} rounds). Seconds are medians
of a round; the ratio is the median over the rounds (above 1: `exact` is faster). `none`, the order of the public code,
builds a graph of the generator in every step, and translates again for the generator step. `exact` does neither, and
gives equal losses and weights (`tests/methods/test_stargan.py`). Memory is the peak of the process on a CPU, and of
tensors on a GPU."""
LABELS = Labels(names=("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young"), kind="attributes")


def worker(options, device):
    torch.manual_seed(0)
    tune_kernels(device)
    shape = {"image_size": options.size, "ngf": options.width, "ndf": options.width, "n_critic": options.n_critic}
    method = StarGAN(StarGAN.Config(labels=(LABELS,), reuse=options.side, **shape))
    capture = CudaCapture() if device.type == "cuda" else None
    engine = Engine(method, TrainConfig(precision=options.precision), ranks=Ranks(device=device), capture=capture)
    batch = {
        "image": torch.rand(options.batch, 3, options.size, options.size, device=device) * 2 - 1,
        "label": torch.randint(2, (options.batch, len(LABELS)), device=device),
    }

    def a_round():
        for _ in range(options.n_critic):
            engine.train_step(batch)

    turns.answer(a_round, device, warm=5 if device.type == "cuda" else 1)


def measure(size, options, device):
    """Return the seconds of every round and the peak memory, by value of `reuse`."""
    command = [sys.executable, __file__, "--device", str(device), "--size", str(size)]
    for name in ("batch", "width", "n_critic", "precision"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    return turns.measure({side: [*command, "--side", side] for side in ("none", "exact")}, options.rounds)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--n-critic", type=int, default=5)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=int)
    parser.add_argument("--side", choices=("none", "exact"), help="used by the benchmark itself")
    options = parser.parse_args()
    device = choose_device(options.device)
    if options.side:
        worker(options, device)
        return
    rows = []
    for size in options.sizes:
        times, peaks = measure(size, options, device)
        ratio = turns.ratio(times["none"], times["exact"])
        seconds = [f"{statistics.median(each):.3f}" for each in times.values()]
        sizes = [str(size), str(options.batch), str(options.width)]
        rows.append([*sizes, *seconds, f"{ratio:.2f}", *(f"{peak:.2f}" for peak in peaks.values())])
        print(*rows[-1], sep="\t", flush=True)
    lead = LEAD.format(n_critic=options.n_critic, precision=options.precision, rounds=options.rounds)
    table.leave(__file__, "A step of StarGAN", lead, {COLUMNS: rows})


if __name__ == "__main__":
    main()
