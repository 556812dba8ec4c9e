"""Cold start: `diptych translate` of one image by a model folder, with PyTorch, and by its ONNX file, in turns.

python benchmarks/onnx_start.py        # writes benchmarks/onnx_start.md
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import table
import torch

from diptych.data.images import image_io
from diptych.inference.load import build_translator
from diptych.methods import find

COLUMNS = "method | command | seconds | ratio | seconds of processors | ratio"
LEAD = """`diptych translate MODEL image.png -o out` of one image of 256x256 pixels in a process of its own: start of
Python, imports, weights from the disk (in the cache of the system) and translation. Untrained networks of the default
size. Medians of {rounds} rounds, in which the two commands take turns; a ratio is the median over the rounds of a
command's to the model folder's. On a shared machine, compare seconds of processors."""


def untrained(method, folder):
    """Write the model folder of a method with its default settings."""
    torch.manual_seed(0)
    cls = find(method)
    config = cls.Config()
    state = {
        name: value for name, value in cls(config).state_dict().items() if name.split(".")[0] in cls.inference_networks
    }
    build_translator(cls, method, config.model_dump(), state, cls.inference_networks, {}, method).save(folder)


def translate(model, image, out):
    """Seconds on the clock and of processors of one process."""
    command = [sys.executable, "-m", "diptych", "translate", model, image, "-o", out, "--overwrite", "--device", "cpu"]
    began = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return seconds, usage.ru_utime + usage.ru_stime


def rows(method, rounds, place):
    folder, file, image = place / method, place / f"{method}.onnx", place / "image.png"
    untrained(method, folder)
    subprocess.run([sys.executable, "-m", "diptych", "export", folder, "-o", file], check=True)
    image_io.write(image, np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8))
    sides = {"model folder": folder, "ONNX file": file}
    found = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, model in sides.items():
            measured = translate(model, image, place / f"out-{side}")
            if number:  # the first round fills the cache of the system
                found[side].append(measured)
    for side, each in found.items():
        pairs = list(zip(each, found["model folder"], strict=True))
        clock, busy = (statistics.median(a[index] / b[index] for a, b in pairs) for index in (0, 1))
        seconds, processors = (statistics.median(column) for column in zip(*each, strict=True))
        yield [method, side, f"{seconds:.2f}", f"{clock:.2f}", f"{processors:.2f}", f"{busy:.2f}"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--methods", nargs="+", default=["pix2pix", "cyclegan"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = [row for method in options.methods for row in rows(method, options.rounds, Path(place))]
    lead = LEAD.format(rounds=options.rounds)
    table.leave(
        __file__, "Cold start of an ONNX file", lead, {COLUMNS: found}, f", onnxruntime {onnxruntime.__version__}"
    )


if __name__ == "__main__":
    main()
