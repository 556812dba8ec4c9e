"""Pairs per second on one core that tasks compute from photographs, against pairs without a task.

python benchmarks/tasks.py      # writes benchmarks/tasks.md; of facades, see `table`, else of pictures that it makes

All load samples as training does, from the same side-by-side files: without a task both halves are the pair, and with a
task the pair is computed from one of them. They take turns in one process; what counts is the median of the ratios.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import table
import torch

from diptych.data.batches import Batches
from diptych.data.checks.manifest import scan
from diptych.data.dataset import Split
from diptych.data.image_columns import ImageFiles
from diptych.data.images import image_io
from diptych.data.images.transforms import Augment
from diptych.data.sources.folders import images_in
from diptych.data.tasks.known_tasks import TASKS, task_of
from diptych.data.tasks.pair_side import PairSide

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from hed_files import hed_file  # random weights: the time does not depend on them

CROP, LOAD = 256, 286
VARIANTS = [
    *((name, {}) for name in TASKS),
    ("colorize", {"colors": "rgb"}),
    ("edges", {"kind": "soft"}),
    ("inpaint", {"mask": "freeform"}),
    ("denoise", {"photons": 50}),
    ("super_resolution", {"sigma": [0.2, 2], "noise": [0, 10], "quality": [40, 95]}),
]
COLUMNS = "task | options | pairs/s | of those without a task | from the cache, pairs/s | of those without a task"
LEAD = f"""Pairs per second on one core (processor time) of {CROP} x {CROP} pixels from side-by-side files, as training
loads them: decoded each time, and from a filled cache. Tasks and pairs without a task alternate in one process; the
shares are medians of ratios."""


def samplers(files, task):
    """Return the functions that load a sample without a cache, and from one."""
    entries = tuple(scan(files[0].parent, files).entry_of(file) for file in files)
    halves = {name: ImageFiles(files, half, entries) for half, name in enumerate(("target", "source"))}
    channels = {"source": 3, "target": 3}
    if task:
        halves = {name: ImageFiles(files, 0, entries, side=PairSide(task, name)) for name in ("source", "target")}
        channels = dict(zip(channels, task.channels(3), strict=True))
    batches = Batches(Split(halves, aligned=True), channels, Augment(LOAD, CROP))
    cached = batches.with_cache(2**30, 1)
    return [lambda number: batches.sample(number, {}), lambda number: cached.sample(number, {})]


def seconds(sample, count):
    """Processor time per sample."""
    began = time.process_time()
    for number in range(count):
        sample(number)
    return (time.process_time() - began) / count


def measure(files, variants, rounds, count):
    """Return the rows of the table, the first of which is without a task."""
    sides = [samplers(files, None), *(samplers(files, task_of(name, options)) for name, options in variants)]
    flat = [sample for side in sides for sample in side]
    for sample in flat:
        seconds(sample, len(files) if count > 1 else 1)
    times = np.empty((rounds, len(flat)))
    for turn in range(rounds):
        for side in range(len(flat)) if turn % 2 else reversed(range(len(flat))):
            times[turn, side] = seconds(flat[side], count)
    rows = []
    for number, (name, options) in enumerate([("none", {}), *variants]):
        row = [name, ", ".join(f"{key} {value}" for key, value in options.items() if key != "weights")]
        for column in (2 * number, 2 * number + 1):
            speed = 1 / statistics.median(times[:, column])
            share = statistics.median(times[:, column % 2] / times[:, column])
            row += [f"{speed:.0f}" if speed >= 10 else f"{speed:.1f}", f"{share:.2f}"]
        rows.append(row)
    return rows


def made_pictures(folder):
    """Smooth colours with some noise, side by side."""
    rng = np.random.default_rng(0)
    for number in range(16):
        coarse = image_io.resize(rng.integers(0, 256, (8, 16, 3), np.uint8), 256, 512)
        image_io.write(
            folder / f"{number}.jpg", np.clip(coarse + rng.integers(-9, 10, coarse.shape), 0, 255).astype(np.uint8)
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--only", help="names of tasks, with commas between them; prints and writes nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as made:
        root = table.DATA / "facades" / "train"
        if not root.is_dir():
            root = Path(made) / "pictures"
            made_pictures(root)
        files = images_in(root)[: options.files]
        chosen = options.only.split(",") if options.only else [*TASKS, "hed"]
        rows = measure(files, [each for each in VARIANTS if each[0] in chosen], options.rounds, len(files))
        if "hed" in chosen:
            hed = {"kind": "hed", "weights": str(hed_file(Path(made)))}
            rows.append(measure(files, [("edges", hed)], 3, 1)[1])
    for row in rows:
        print(*row, sep="\t")
    if not options.only:
        table.leave(__file__, "Pairs computed from photographs", LEAD, {COLUMNS: rows})


if __name__ == "__main__":
    main()
