"""Time and memory of a StarGAN v2 step: a textbook loop, and each value of `reuse`, in turns.

python benchmarks/starganv2_step.py                     # writes benchmarks/starganv2_step.md
"""

import argparse
import statistics
import sys

import table
import textbook
import torch
import turns

from diptych.contract import Labels
from diptych.methods.starganv2 import StarGANv2
from diptych.settings.train_config import TrainConfig
from diptych.system.distributed import Ranks, choose_device
from diptych.system.hardware import tune_kernels
from diptych.training.engine import Engine

SIDES = ("published", "none", "exact", "max")
STEPS = "pixels | batch | published, s | none, s | exact, s | max, s | none / exact | published / exact"
MORE = "pixels | batch | published / none | published / max | published, GiB | none, GiB | exact, GiB | max, GiB"
LEAD = """Batch {batch}, {domains} domains, {precision}, {width}: one step of each in turns ({rounds} rounds), each in
its own process. **published** is the order of the public code in a textbook loop, with gradients of all networks in
each of the four updates. **none** is the same order with our engine, which computes gradients only of the networks
that are updated. **exact**, the default, encodes a source once for all translations with the same weights, and builds
no unused graphs. **max** also uses the discriminator's latent-guided image in the generator's update. All give the
same losses and weights (`tests/methods/test_starganv2.py`). Absolute times depend on the machine; compare the ratios,
medians over the rounds (above 1: the second is faster). Memory is the peak of the process on a CPU, of tensors on a
GPU."""


def stepper(side, options, device):
    """Return a function that takes one step on a batch."""
    tune_kernels(device)  # as `diptych train` does
    labels = (Labels(names=tuple(f"domain {number}" for number in range(options.domains))),)
    reuse = "none" if side == "published" else side
    method = StarGANv2(StarGANv2.Config(image_size=options.size, ngf=options.width, labels=labels, reuse=reuse))
    if side == "published":
        return textbook.UpdateRule(method.to(device), options.precision).step
    return Engine(method, TrainConfig(precision=options.precision), ranks=Ranks(device=device)).train_step


def worker(side, options, device):
    torch.manual_seed(0)
    images = (options.batch, 3, options.size, options.size)
    batch = {name: torch.rand(images, device=device) * 2 - 1 for name in ("image", "reference", "other")}
    batch |= {name: torch.randint(options.domains, (options.batch,), device=device) for name in ("label", "target")}
    step = stepper(side, options, device)
    turns.answer(lambda: step(batch), device, warm=4 if device.type == "cuda" else 1)


def ratio(times, slow, fast):
    return f"{turns.ratio(times[slow], times[fast]):.3f}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--domains", type=int, default=3)
    parser.add_argument("--width", type=int, help="channels at full size; default the paper's")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--worker")
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options, choose_device(options.device))
        return
    commands = {side: [sys.executable, __file__, *sys.argv[1:], "--worker", side] for side in SIDES}
    times, peaks = turns.measure(commands, options.rounds)
    case = [str(options.size), str(options.batch)]
    seconds = [f"{statistics.median(times[side]):.3f}" for side in SIDES]
    steps = [*case, *seconds, ratio(times, "none", "exact"), ratio(times, "published", "exact")]
    more = [*case, ratio(times, "published", "none"), ratio(times, "published", "max")]
    more += [f"{peaks[side]:.2f}" for side in SIDES]
    print(*steps, *more[2:], sep="\t")
    width = f"{options.width} channels at full size" if options.width else "the paper's width"
    lead = LEAD.format(
        batch=options.batch, domains=options.domains, rounds=options.rounds, precision=options.precision, width=width
    )
    table.leave(__file__, "One step of StarGAN v2", lead, {STEPS: [steps], MORE: [more]})


if __name__ == "__main__":
    main()
