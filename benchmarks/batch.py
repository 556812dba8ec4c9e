"""Images per second of one process, two shards and Ray, on many tiny images; and Ray with an actor that is killed.

python benchmarks/batch.py [--images 20000]     # writes benchmarks/batch.md; exit code 1 if a file differs
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import ray
import table
import torch

from diptych.data.images import image_io
from diptych.inference.load import build_translator
from diptych.methods import find

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from ray_actors import kill_actor

SIDE = 32
COLUMNS = (
    "command | seconds | images/s | first file after, s | images/s from then on | files | "
    "differ from one process | kept from the killed actor | load before"
)
LEAD = """`diptych translate model.onnx manifest.txt` of {images:,} PNG files of {side}x{side} pixels by an untrained
pix2pix with `unet_32` and `ngf=4`, on the CPU, with one thread for each process (`OMP_NUM_THREADS=1`). Whole commands:
the seconds have the start of Python and Ray, and loading the model; images/s from the first file on leave them out. The
killed actor is ended by `kill -9` when a third of the files is there. Files are compared by all their bytes. The load
is the mean number of processes that wanted a core in the minute before; what is not of this benchmark slows it."""
SIDES = {  # words after those of all
    "one process": [[]],
    "two shards at once": [["--shard", "0/2"], ["--shard", "1/2"]],
    "Ray, 2 actors": [["--engine", "ray", "--actors", "2"]],
    "Ray, 2 actors, one killed": [["--engine", "ray", "--actors", "2"]],
}


def prepare(place, images):
    """Write the model, the images and the manifest."""
    torch.manual_seed(0)
    cls = find("pix2pix")
    config = cls.Config(generator="unet_32", ngf=4)
    parts = cls(config).state_dict().items()
    state = {name: value for name, value in parts if name.split(".")[0] in cls.inference_networks}
    build_translator(cls, "pix2pix", config.model_dump(), state, cls.inference_networks, {}, "tiny").save(
        place / "model"
    )
    subprocess.run([sys.executable, "-m", "diptych", "export", "model", "-o", "model.onnx"], cwd=place, check=True)
    numbers = np.random.default_rng(0)
    names = [f"in/{number // 1000}/{number}.png" for number in range(images)]
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(image_io.encoded(name, numbers.integers(0, 256, (SIDE, SIDE, 3), np.uint8)))
    (place / "manifest.txt").write_text("\n".join(names))


def measure(place, side, images):
    """Return the seconds, those until the first file, and what the processes said."""
    out = place / side
    words = [sys.executable, "-m", "diptych", "translate", "model.onnx", "manifest.txt", "-o", side, "--device", "cpu"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    began = time.perf_counter()
    running = [subprocess.Popen([*words, *more], cwd=place, **pipes) for more in SIDES[side]]
    while not (out / "in" / "0").exists() and any(process.poll() is None for process in running):
        time.sleep(0.05)
    first = time.perf_counter() - began
    if side.endswith("killed"):
        while not (out / "in" / str(images // 3000)).exists() and running[0].poll() is None:
            time.sleep(0.05)
        kill_actor(running[0].pid)
    said = [process.communicate() for process in running]
    seconds = time.perf_counter() - began
    if any(process.returncode for process in running):
        sys.exit(f"{side} failed: {said}")
    return seconds, first, "".join(text for text, _ in said)


def row(place, side, images):
    load = os.getloadavg()[0]
    seconds, first, said = measure(place, side, images)
    names = [path.relative_to(place / side) for path in (place / side).rglob("*.png")]
    whole = place / "one process"
    differ = sum((place / side / name).read_bytes() != (whole / name).read_bytes() for name in names)
    kept = re.search(r"(\d+) files already there", said)
    rates = [f"{images / seconds:.0f}", f"{first:.1f}", f"{images / (seconds - first):.0f}"]
    cells = [side, f"{seconds:.0f}", *rates, f"{len(names):,}", str(differ), kept[1] if kept else "0", f"{load:.1f}"]
    print(*cells, sep="\t", flush=True)
    return cells, differ or len(names) != images


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    images = parser.parse_args().images
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_ADDRESS": "local"}
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), images)
        rows, wrong = zip(*(row(Path(folder), side, images) for side in SIDES), strict=True)
    lead = LEAD.format(images=images, side=SIDE)
    table.leave(__file__, "Millions of images", lead, {COLUMNS: list(rows)}, f", Ray {ray.__version__}")
    sys.exit(any(wrong))


if __name__ == "__main__":
    main()
