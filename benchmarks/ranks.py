"""Samples per second of `diptych train` in one process and in two under torchrun, by turns.

python benchmarks/ranks.py                    # writes benchmarks/ranks.md
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import table

from diptych.runs.events import read_events

COLUMNS = "method | one process, samples/s | two processes, samples/s | two / one"
LEAD = """The same command, alone and under `torchrun --nproc-per-node=2`: letters at 64 pixels, batch 4, half width,
gloo on a CPU. One process uses all cores by threads, each of two uses half of them. Medians over {rounds} runs of each,
by turns, of the rate that the log gives after the first line."""
METHODS = {
    "pix2pix": ["generator=unet_64", "ngf=32", "ndf=32"],
    "cyclegan": ["generator=resnet_6", "ngf=32", "ndf=32"],
}


def rate(method, processes, steps):
    """Samples per second of one run."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"] if processes == 2 else []
    settings = [
        "root=glyphs",
        "crop_size=64",
        "batch_size=4",
        f"steps={steps}",
        "log_every=5",
        "preview_images=1",
        "device=cpu",
    ]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = [*launcher, "-m", "diptych.cli", "train", method, *settings, *METHODS[method], "-o", str(run)]
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        lines = [event["samples_per_second"] for event in read_events(run / "events.jsonl") if event["event"] == "step"]
    return statistics.median(lines[1:])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=25)
    options = parser.parse_args()
    rows = []
    for method in METHODS:
        pairs = [(rate(method, 1, options.steps), rate(method, 2, options.steps)) for _ in range(options.rounds)]
        one, two = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        rows.append([method, f"{one:.1f}", f"{two:.1f}", f"{ratio:.2f}"])
        print(*rows[-1], sep="\t", flush=True)
    table.leave(__file__, "One process and two", LEAD.format(rounds=options.rounds), {COLUMNS: rows})


if __name__ == "__main__":
    main()
