"""The `starganv2` protocol against the order of the published code: generator and LPIPS, ten styles a source.

python benchmarks/starganv2_protocol.py [--size 128] [--width 32] [--sources 8] [--rounds 5]

The published order runs the whole generator for each style, and AlexNet on both images of each of 45 pairs; ours
encodes a source once, and looks at each image once. Both have the same networks, with weights drawn at random (time
does not depend on them), and must give the same numbers.
"""

import argparse
import statistics
import time
from itertools import combinations

import table
import torch

from diptych.contract import Labels
from diptych.evaluation.metrics.lpips import BACKBONES, Lpips, heads
from diptych.methods.starganv2 import StarGANv2

STYLES = 10
COLUMNS = "part | published order, s | ours, s | published / ours"
LEAD = """StarGAN v2 at {size} pixels, width {width}, {styles} styles for each of {sources} sources, LPIPS by AlexNet;
both sides by turns, {rounds} rounds, medians (above 1: ours is faster). The largest difference of the numbers was
{apart:.1e}."""


def networks(size, width):
    from torchvision.models import alexnet

    torch.manual_seed(0)
    method = StarGANv2(StarGANv2.Config(image_size=size, ngf=width, labels=(Labels(names=("cat", "dog")),))).eval()
    return method.requires_grad_(False), Lpips(
        alexnet().features.requires_grad_(False), heads("alex"), BACKBONES["alex"].taps
    )


def published(method, lpips, x, choices):
    began = time.perf_counter()
    made = [method.translate(x, **each) for each in choices]
    between = time.perf_counter()
    found = torch.stack([lpips.pair(a, b) for a, b in combinations(made, 2)]).mean(0)
    return found.tolist(), between - began, time.perf_counter() - between


def ours(method, lpips, x, choices):
    began = time.perf_counter()
    made = method.translate_each(x, choices)
    between = time.perf_counter()
    found = [lpips.diversity(torch.stack(each)) for each in zip(*made, strict=True)]
    return found, between - began, time.perf_counter() - between


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    for name, value in (("size", 128), ("width", 32), ("sources", 8), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    method, lpips = networks(options.size, options.width)
    x = torch.rand(options.sources, 3, options.size, options.size) * 2 - 1
    choices = [{"domain": "dog", "seed": seed} for seed in range(STYLES)]
    spent, apart = {published: [], ours: []}, 0.0
    for number in range(options.rounds + 1):
        numbers = []
        for side, times in spent.items():
            found, *seconds = side(method, lpips, x, choices)
            numbers.append(torch.tensor(found))
            times += [(*seconds, sum(seconds))] * bool(number)  # the first round warms up
        apart = max(apart, float((numbers[0] - numbers[1]).abs().max()))
    rows = []
    for at, part in enumerate(("generator", "LPIPS", "together")):
        theirs, mine = ([each[at] for each in times] for times in spent.values())
        ratio = statistics.median(a / b for a, b in zip(theirs, mine, strict=True))
        rows.append([part, *(f"{statistics.median(each):.2f}" for each in (theirs, mine)), f"{ratio:.2f}"])
        print(*rows[-1], sep="\t", flush=True)
    lead = LEAD.format(styles=STYLES, apart=apart, **vars(options))
    table.leave(__file__, "The starganv2 protocol", lead, {COLUMNS: rows})


if __name__ == "__main__":
    main()
