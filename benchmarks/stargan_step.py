"""Time of a StarGAN step: what its rule saves against the published order, both in one run, by turns.

python benchmarks/stargan_step.py                     # writes benchmarks/stargan_step.md

A round is n_critic steps of the discriminator and one of the generator, so that each side does the whole of its work.
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

COLUMNS = "pixels | batch | width | published order, s | saving, s | published / saving | published, GiB | saving, GiB"
LEAD = """{n_critic} steps of the discriminator and one of the generator make a round. Both sides run the same
networks in {precision} by the same engine, each in a process of its own, one round in turns ({rounds} rounds). Seconds
are medians of a round; the ratio is the median over the rounds (above 1: saving is faster). The published order keeps
a graph of the generator in every step, and translates anew where the generator moves. `saving` does neither, and gives
equal losses and weights (`tests/methods/test_stargan.py`). Memory is the peak of the whole process on a CPU, and of
tensors on a GPU."""
LABELS = Labels(names=("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young"), kind="attributes")


def worker(options, device):
    torch.manual_seed(0)
    tune_kernels(device)
    shape = {"size": options.size, "width": options.width, "d_width": options.width, "n_critic": options.n_critic}
    method = StarGAN(StarGAN.Config(labels=(LABELS,), reuse=options.side == "saving", **shape))
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
    """Seconds of every round and peaks of memory, by side: the published order, and ours."""
    command = [sys.executable, __file__, "--device", str(device), "--size", str(size)]
    for name in ("batch", "width", "n_critic", "precision"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    return turns.measure({side: [*command, "--side", side] for side in ("published", "saving")}, options.rounds)


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
    parser.add_argument("--side", choices=("published", "saving"), help="for the benchmark itself: be one side")
    options = parser.parse_args()
    device = choose_device(options.device)
    if options.side:
        worker(options, device)
        return
    rows = []
    for size in options.sizes:
        times, peaks = measure(size, options, device)
        ratio = turns.ratio(times["published"], times["saving"])
        seconds = [f"{statistics.median(each):.3f}" for each in times.values()]
        sizes = [str(size), str(options.batch), str(options.width)]
        rows.append([*sizes, *seconds, f"{ratio:.2f}", *(f"{peak:.2f}" for peak in peaks.values())])
        print(*rows[-1], sep="\t", flush=True)
    lead = LEAD.format(n_critic=options.n_critic, precision=options.precision, rounds=options.rounds)
    table.leave(__file__, "A step of StarGAN", lead, {COLUMNS: rows})


if __name__ == "__main__":
    main()
