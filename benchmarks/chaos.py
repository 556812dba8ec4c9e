"""Harms real trainings at random, many times over, and compares what they come to with what nothing disturbed.

python benchmarks/chaos.py [--quick]      # writes benchmarks/chaos.md; exit code 1 if anything was wrong
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "chaos"))
from checkpoints import small
from commands import TINY
from faults import end

from diptych.runs import checkpoint

COLUMNS = "bar | what was done | times | wrong | seconds"
TESTS = Path(__file__).parents[1] / "tests"
LEAD = """Real commands on the embedded letters, harmed many times in the ways that `tests/chaos` tries a few times.
A run that was killed must come to the very bytes of one that was not: weights, Adam, averages, numbers of the log."""
USUAL = [*(word for word in TINY if word != "workers=0"), "workers=1", "checkpoint_minutes=0"]  # saves after each step
PARTS = ("kills", "ranks", "disks")
FORMS = {"pix2pix": USUAL, "cyclegan": [*(word for word in USUAL if "generator" not in word), "generator=resnet_6"]}
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]


@dataclass
class Row:
    """One line of the table, and what went wrong in it."""

    bar: str
    what: str
    times: int = 0
    wrong: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def done(self, what=""):
        seconds = f"{time.monotonic() - self.began:.0f}"
        self.cells = [self.bar, self.what + what, f"{self.times:,}", str(len(self.wrong)), seconds]
        print(*self.cells, *self.wrong, sep="\t", flush=True)
        return self


def start(*words, launcher=()):
    """A real `diptych WORDS` with a session of its own; what it says is kept beside the run."""
    command = [sys.executable, "-m", *launcher, "diptych.cli", *map(str, words)]
    said = tempfile.TemporaryFile("w+")  # noqa: SIM115  (as long as the process)
    child = subprocess.Popen(command, stdout=said, stderr=said, text=True, start_new_session=True)
    child.said = said
    return child


def said(child):
    child.said.seek(0)
    return child.said.read()


def finish(*words, **options):
    """As `start`, to its end; RuntimeError if it fails."""
    child = start(*words, **options)
    if child.wait(600):
        raise RuntimeError(f"{' '.join(map(str, words))}: {said(child)[-2000:]}")


def wait_until(ready, child):
    """Until then, while the process runs."""
    while not ready():
        if child.poll() is not None:
            raise RuntimeError(f"ended by itself with {child.returncode}: {said(child)[-2000:]}")
        time.sleep(0.005)


def latest(run):
    """The step of the newest checkpoint, as its name says."""
    return max((int(path.stem[2:]) for path in checkpoint.list_checkpoints(run / "checkpoints")), default=0)


def kills(method, count, folder, dice, steps):
    """T3: `kill -9` of a training at random moments, as often as asked; every third in its start-up, or soon after."""
    row = Row("T3", f"`kill -9` of `diptych train {method}` and of what resumes it: ")
    words, run, whole = [*FORMS[method], f"steps={steps}", "log_every=10"], folder / method, folder / f"{method}-whole"

    def on():  # what a person types: there is nothing to resume before the first checkpoint
        return ("resume", run) if (run / "config.yaml").exists() else ("train", method, *words, "-o", run)

    began = time.monotonic()
    child = start("train", method, *words, "-o", whole)
    wait_until(lambda: latest(whole) > 0, child)
    prelude = time.monotonic() - began
    child.wait()
    early = saving = 0
    while row.times < count:
        before = latest(run)
        child = start(*on())
        if row.times % 3:
            target = before + dice.randint(1, steps // count // 2)
            wait_until(lambda: latest(run) >= target, child)  # noqa: B023
            time.sleep(0.05 * dice.random())
        else:
            time.sleep(0.7 * prelude * dice.random())
        (os.killpg if dice.random() < 0.5 else os.kill)(child.pid, signal.SIGKILL)  # with its workers, or without
        if child.wait() != -signal.SIGKILL:
            raise RuntimeError(f"ended by itself with {child.returncode}: {said(child)[-2000:]}")
        row.times += 1
        early += latest(run) == before
        saving += bool(list((run / "checkpoints").glob(".*")))
    finish(*on())
    if end(run) != end(whole):
        row.wrong.append(f"{method}: other weights or numbers than those of the undisturbed run")
    return row.done(f"{early} before a step was kept, {saving} within a save; {steps} steps in all")


def family(pid):
    """The processes under one, and their ranks."""
    found = {}
    for each in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (each / "environ").read_bytes().split(b"\0")
            if parent == pid:
                found[int(next(v for v in variables if v.startswith(b"RANK="))[5:])] = int(each.name)
    return found


def lost_ranks(folder, steps=150):
    """T6: one of two processes under torchrun is killed or stopped; the other one ends, and the run can go on."""
    words = [*FORMS["pix2pix"], f"steps={steps}", "log_every=10", "rank_timeout_minutes=0.1"]
    finish("train", "pix2pix", *words, "-o", folder / "two", launcher=TORCHRUN)
    rows = []
    for number in (signal.SIGKILL, signal.SIGSTOP):
        row = Row(
            "T6", f"{number.name} to one of two ranks under `torchrun`, then `resume`: the other one ended after "
        )
        waits = []
        for lost in (0, 1):
            run = folder / f"{number.name}-{lost}"
            child = start("train", "pix2pix", *words, "-o", run, launcher=TORCHRUN)
            wait_until(lambda: latest(run) > 0, child)  # noqa: B023
            ranks = family(child.pid)
            began = time.monotonic()
            os.kill(ranks[lost], number)
            while alive(ranks[1 - lost]):
                time.sleep(0.05)
            waits.append(time.monotonic() - began)
            child.wait(120)
            row.times += 1
            if not re.search(rf"error: step \d+: rank {lost} of 2 died or hangs", said(child)):
                row.wrong.append(f"{run.name}: the lost rank is not named: {said(child)[-500:]}")
            if "(most recent call first)" not in said(child):
                row.wrong.append(f"{run.name}: no stack is told")
            if any(alive(pid) for pid in ranks.values()):
                row.wrong.append(f"{run.name}: a process is left")
            finish("resume", run, launcher=TORCHRUN)
            if end(run) != end(folder / "two"):
                row.wrong.append(f"{run.name}: other weights or numbers than those of the undisturbed run")
        rows.append(row.done(" and ".join(f"{wait:.0f} s" for wait in waits)))
    return rows


def alive(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def told(bar, what, program, *words):
    """A program of the tests that looks for what is wrong by itself."""
    row = Row(bar, what)
    done = subprocess.run(
        [sys.executable, TESTS / program, *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode or not done.stdout:
        row.wrong.append(f"{program} failed: {done.stderr[-500:]}")
        return row.done()
    if done.stdout.startswith("{"):
        found = json.loads(done.stdout)
        row.times, row.wrong = found.get("cut") or found["written"], found["wrong"]
    else:
        first, *row.wrong = done.stdout.splitlines()
        row.times = int(first.split()[0])
    return row.done()


def disks(folder, quick):
    """C1, C2, C4, C6 and D7, by the programs of the tests."""
    rows = []
    for how, bar, what in (("kill", "C1", "killed"), ("refuse", "C2", "refused by a full disk")):
        for writer, where in (("bytes", "byte of a file"), ("safetensors", "byte of a checkpoint")):
            place = folder / f"{how}-{writer}"
            place.mkdir()
            checkpoint.save(place / "0-00000007.safetensors", small(7))
            stride = 64 if quick else 1
            rows.append(told(bar, f"save {what} at each {where}", "chaos/cut_saves.py", place, how, writer, stride))
    rows.append(told("C4", "bits flipped, all of a header", "chaos/bit_rot.py", 100 if quick else 10_000))
    rows.append(
        told("C6", "saves between kills at random", "chaos/kill_keeper.py", folder / "kept", 10 if quick else 300)
    )
    rows.append(told("D7", "damaged images of 27 kinds read", "image/fuzz.py", "--seconds", 2 if quick else 120))
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one kill and a little of the rest; writes no table")
    parser.add_argument("--kills", type=int, default=20, help="of each method")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # as many programs at once as there are cores
    dice = random.Random(options.seed)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # where fsync costs nothing
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir=memory) as light:
        if options.quick:
            rows = [kills("pix2pix", 1, Path(folder), dice, steps=20)]
        else:
            rows = []
            if "kills" in options.parts:
                rows += [kills(method, options.kills, Path(folder), dice, steps=300) for method in FORMS]
            if "ranks" in options.parts:
                rows += lost_ranks(Path(folder))
        if "disks" in options.parts:
            rows += disks(Path(light), options.quick)
    wrong = [each for row in rows for each in row.wrong]
    if not options.quick:
        listed = "\n".join(f"- {each}" for each in wrong) or "Nothing went wrong."
        table.leave(__file__, "Harm", f"{LEAD}\n\n{listed}", {COLUMNS: [row.cells for row in rows]})
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
