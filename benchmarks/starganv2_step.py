"""Time and memory of a step of StarGAN v2: the published order, and ours with fewer forward passes, in turns.

python benchmarks/starganv2_step.py                     # writes benchmarks/starganv2_step.md
"""

import argparse
import statistics
import sys

import table
import torch
import turns

from diptych.contract import Clock, Labels
from diptych.methods.starganv2 import StarGANv2
from diptych.settings.train_config import TrainConfig
from diptych.system.distributed import Ranks, choose_device
from diptych.system.hardware import tune_kernels
from diptych.training.ema import EMA
from diptych.training.engine import Engine

SIDES = ("published", "none", "exact", "max")
STEPS = "pixels | batch | published, s | plain, s | passes, s | most, s | plain / passes | published / passes"
MORE = "pixels | batch | published / plain | published / most | published, GiB | plain, GiB | passes, GiB | most, GiB"
LEAD = """Batch {batch}, {domains} domains, {precision}, {width}: one step of each in turns ({rounds} rounds), each in a
process of its own. **published** is the order of the public code in a textbook loop, with gradients of all networks in
each of the four updates. **plain** is the same order under our engine, which makes the gradients of those networks
alone that move. **passes**, the default, shares the encoder's pass among all that the same weights of the generator
make, and makes no graph that nobody uses. **most** uses the discriminator's latent image in the generator's update too.
All give the same losses and weights (`tests/methods/test_starganv2.py`). Absolute times depend on the machine; the
ratios, medians over the rounds, are what to read (above 1: the second is faster). Memory is the peak of the whole
process on a CPU, of tensors on a GPU."""


class Textbook:
    """`updates` in a plain loop: every backward pass reaches every network, as in the public code."""

    def __init__(self, method, precision):
        self.method, self.ema_weights, self.precision = method, EMA(method), precision
        self.rule, self.clock = method.updates, Clock("train", 0, method.config.steps)
        self.players = method.stages()[0].players
        self.adams = {
            name: torch.optim.Adam(
                player.parameters(), player.lr, player.betas, weight_decay=player.weight_decay, fused=True
            )
            for name, player in self.players.items()
        }

    def step(self, batch):
        rule = self.rule(batch, self.clock)
        while True:
            with torch.autocast(batch["image"].device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                update = next(rule, None)
            if update is None:
                self.ema_weights.follow(self.method)
                return
            for adam in self.adams.values():
                adam.zero_grad()
            sum(update[1].values()).backward()
            for name in (update[0],) if isinstance(update[0], str) else update[0]:
                self.adams[name].step()


def stepper(side, options, device):
    """A function that takes one step on a batch."""
    tune_kernels(device)  # as `diptych train` does
    labels = (Labels(names=tuple(f"domain {number}" for number in range(options.domains))),)
    saving = "none" if side == "published" else side
    method = StarGANv2(StarGANv2.Config(image_size=options.size, ngf=options.width, labels=labels, reuse=saving))
    if side == "published":
        return Textbook(method.to(device), options.precision).step
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
