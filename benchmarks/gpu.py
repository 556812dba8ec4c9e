"""Prove the GPU path: that all methods train on it as on a CPU, how fast, how the loader keeps up, and facades.

python benchmarks/gpu.py                        # writes benchmarks/gpu.md, in at most 8 minutes
python benchmarks/gpu.py --smoke -o FOLDER      # everything tiny, on a CPU

Each part runs in its own processes and has a share of the time; a part that takes longer is ended. The page is written
anew after each row, so that it holds all numbers up to then whatever happens. Exit code 1 if a check failed
or a part was ended.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer

import gpu_checks
import gpu_facades
import gpu_speed
import table
import torch

from diptych.system.distributed import choose_device

LEAD = """{status} Each row was written when it was measured.

**Checks**: every method at its tiny size on letters. Differences of losses are relative above 1. The first step in fp32
agrees with float64 on the CPU to 1e-4; later ones to ten times what the CPU in fp32 is off, at least 1e-4. TF32 is off.

**Steps**: {size} pixels, networks of the papers' width, random images. **textbook** is the loop of `textbook.py` in
fp32: written by hand for pix2pix and CycleGAN, the published order (`reuse=none`) with gradients of all networks for
the others. Ours is the engine as `diptych train` runs it, with TF32 in convolutions as PyTorch's default is. FLOPs are
counted by torch's formulas for convolutions and matrix products in a plain step; the peak of bf16 is that of NVIDIA's
data sheet. Memory is the peak of tensors on a GPU, and of the process on a CPU.

**Loader**: side-by-side JPEG files as facades has them, loaded by worker processes without a step.

**Facades**: recipe `facades`, the paper's settings, ended when the time is over."""
COLUMNS = {
    "checks": gpu_checks.COLUMNS,
    "steps": gpu_speed.COLUMNS,
    "loader": gpu_speed.LOADER_COLUMNS,
    "facades": gpu_facades.COLUMNS,
}
END_SECONDS = 30  # of a part: start of the process, the last sample grid, report and model folder of a run
COMPILE_SIDES = ("bf16", "bf16 compile")
# Jobs in the order of their value: part, the share of all time at which it is ended, methods, sides.
JOBS = (
    ("checks", 0.27, (), ()),
    *(("steps", 0.62, (name,), gpu_speed.SIDES) for name in gpu_speed.METHODS),
    ("loader", 0.69, (), ()),
    *(("steps", 0.82, (name,), COMPILE_SIDES) for name in gpu_speed.METHODS),
    ("facades", 0.97, (), ()),
)
# A smoke run takes each side with pix2pix, and with the other methods the first two.
SMOKE_JOBS = (
    ("checks", 0.3, (), ()),
    ("steps", 0.5, ("pix2pix",), (*gpu_speed.SIDES, "bf16 compile")),
    ("steps", 0.8, gpu_speed.METHODS[1:], gpu_speed.SIDES[:2]),
    ("loader", 0.9, (), ()),
    ("facades", 0.97, (), ()),
)


def rows_of(part: str, options: argparse.Namespace, seconds: float) -> Iterator[list[str]]:
    """Yield the rows of a part as they are measured, in this process."""
    device = choose_device("cpu" if options.smoke else options.device)
    scale = gpu_speed.SMOKE if options.smoke else gpu_speed.Scale()
    with tempfile.TemporaryDirectory() as folder:
        if part == "checks":
            yield from gpu_checks.run(device, options.smoke)
        elif part == "steps":
            yield from gpu_speed.steps(device, scale, tuple(options.methods), tuple(options.sides))
        elif part == "loader":
            yield from gpu_speed.loader(device, scale, Path(folder), options.smoke)
        else:
            picture = options.output / "gpu-facades.jpg"
            yield from gpu_facades.train(device, seconds - END_SECONDS, picture, Path(folder), options.smoke)


def rows_of_process(part: str, options: argparse.Namespace, seconds: float) -> Iterator[list[str]]:
    """Yield the rows of a part from a new process, which is killed after `seconds`."""
    command = [sys.executable, __file__, "--device", options.device, "-o", str(options.output), "--part", part]
    command += ["--seconds", str(seconds), "--methods", *options.methods, "--sides", *options.sides]
    with tempfile.TemporaryFile("w+") as errors:
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        end = Timer(seconds, worker.kill)
        end.start()
        for line in worker.stdout:
            if line.startswith("["):
                yield json.loads(line)
        code, late = worker.wait(), not end.is_alive()
        end.cancel()
        if code:
            errors.seek(0)
            last = errors.read().strip().rpartition("\n")[2]
            reason = "the time is over" if late else gpu_checks.in_a_cell(f"ended with code {code}: {last}")
            yield [" ".join(options.methods) or part, "", f"FAILED: {reason}", *[""] * (COLUMNS[part].count("|") - 2)]


class Page:
    """The page with all rows so far, written anew after each of them."""

    def __init__(self, output: Path, lead: str) -> None:
        self.file, self.lead = output / "gpu.md", lead
        self.tables: dict[str, list[list[str]]] = {columns: [] for columns in COLUMNS.values()}

    def add(self, part: str, row: list[str]) -> None:
        """Add a row, print it, and write the page."""
        self.tables[COLUMNS[part]].append(row)
        print(part, *row, sep="\t", flush=True)
        filled = {columns: rows for columns, rows in self.tables.items() if rows}
        table.leave(str(self.file), "The GPU path", self.lead, filled)

    def failed(self) -> bool:
        """Return whether a check failed or a part did not come to its end."""
        return any(cell.startswith("FAILED") for rows in self.tables.values() for row in rows for cell in row)


def run_all(options: argparse.Namespace, lead: str) -> int:
    """Run all jobs in order and return the exit code."""
    page, began, total = Page(options.output, lead), time.monotonic(), 60 * options.minutes
    read: Callable = rows_of if options.smoke else rows_of_process
    for part, share, methods, sides in SMOKE_JOBS if options.smoke else JOBS:
        seconds = share * total - (time.monotonic() - began)
        if part == "steps" and seconds < 5:
            continue
        options.methods, options.sides = methods, sides
        for row in read(part, options, max(5.0, seconds)):
            page.add(part, row)
    print(f"{page.file} written after {(time.monotonic() - began) / 60:.1f} minutes")
    return int(page.failed())


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="run everything tiny on a CPU")
    parser.add_argument("--minutes", type=float, default=8.0, help="time for everything")
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent, help="folder of gpu.md")
    parser.add_argument("--part", choices=tuple(COLUMNS), help="used by the benchmark itself, as what follows")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--methods", nargs="*", default=gpu_speed.METHODS)
    parser.add_argument("--sides", nargs="*", default=gpu_speed.SIDES)
    options = parser.parse_args(words)
    if options.part:
        for row in rows_of(options.part, options, options.seconds):
            print(json.dumps(row), flush=True)
        return 0
    if not options.smoke and not torch.cuda.is_available() and options.device == "auto":
        print("no GPU found: --smoke runs everything tiny on a CPU, --device cpu at full size", file=sys.stderr)
        return 2
    status = "A smoke run on a CPU: times mean nothing." if options.smoke else "One run, parts in this order."
    size = (gpu_speed.SMOKE if options.smoke else gpu_speed.Scale()).size
    options.output.mkdir(parents=True, exist_ok=True)
    with torch.compiler.set_stance("force_eager" if options.smoke else "default"):  # compiling takes a minute
        return run_all(options, LEAD.format(status=status, size=size))


if __name__ == "__main__":
    sys.exit(main())
