"""Scanning a large folder: time and peak memory of the first scan, and of those that find all in the cache.

python benchmarks/scan.py --images FOLDER      # writes benchmarks/scan.md; 100,000 links to the images in FOLDER
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import PIL
import table

COLUMNS = "scan | files | seconds | seconds of processors | peak memory of all processes, MB"
LEAD = """Links to the images of one data set ({set}), each read, hashed and decoded in the first scan and read from the
cache in the others. Seconds include imports and listing the folder; on a shared machine, compare seconds of processors.
Limits for 100,000 files: 500 MB, and 2 s from the cache."""
PROGRAM = """
import os, sys, time
from pathlib import Path
from diptych.data.sources.folders import images_in
from diptych.data.checks.manifest import scan
began, before = time.perf_counter(), sum(os.times()[:4])
root = Path(sys.argv[1])
found = scan(root, images_in(root / "train"))
seconds, busy = time.perf_counter() - began, sum(os.times()[:4]) - before
print(len(found.entries), sum(map(len, found.problems.values())), seconds, busy)
"""


def link(images, folder, count):
    """`count` links of random names to the images of a small set, in turn."""
    folder.mkdir(parents=True)
    random.seed(0)
    for number in range(count):
        image = images[number % len(images)]
        (folder / f"{random.getrandbits(64):016x}{number}{image.suffix}").symlink_to(image.resolve())


def resident(pid):
    """Bytes of a process and its children; pages that they share are counted for each."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it ended meanwhile
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(map(resident, children))


def measure(root, cache):
    """Files, files with a problem, seconds on the clock and of processors, and the peak of memory in bytes."""
    command = [sys.executable, "-c", PROGRAM, str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "DIPTYCH_CACHE": str(cache)})
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"the scan failed with {process.returncode}")
    files, bad, seconds, busy = process.stdout.read().split()
    return int(files), int(bad), float(seconds), float(busy), peak


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path, default=table.DATA / "celeba" / "images")
    parser.add_argument("--count", type=int, default=100_000)
    options = parser.parse_args()
    rows, images = [], sorted(options.images.glob("*.*"))
    if not images:
        sys.exit(f"no images in {options.images}: give a folder by --images")
    with tempfile.TemporaryDirectory() as place:
        root = Path(place, "set")
        link(images, root / "train", options.count)
        for name in ("first", "second", "third", "fourth"):
            files, bad, seconds, busy, peak = measure(root, Path(place, "cache"))
            assert (files, bad) == (options.count, 0)
            rows.append([name, f"{files:,}", f"{seconds:.2f}", f"{busy:.2f}", f"{peak / 1e6:.0f}"])
            print(*rows[-1], sep="\t", flush=True)
    lead = LEAD.format(set=options.images.parent.name)
    table.leave(__file__, "Scanning a folder", lead, {COLUMNS: rows}, f", Pillow {PIL.__version__}")


if __name__ == "__main__":
    main()
