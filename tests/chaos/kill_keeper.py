"""Kills a process that does nothing but save and purge, again and again at random moments; says what was left.

python tests/chaos/kill_keeper.py FOLDER KILLS

Each round a child goes on from what the one before left, saves as fast as it can, every third time with a better error
to the truth, and is killed; every second child is told to keep a single checkpoint. Prints a JSON object: checkpoints
written, what an undisturbed start leaves in the end, and what was found that should not be there.
"""

import json
import math
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from checkpoints import small

from diptych.errors import CheckpointError
from diptych.runs import checkpoint
from diptych.runs.folder import Run
from diptych.training.checkpoint_manager import CheckpointManager


def save_on_and_on(run, keep, until=math.inf):
    """From the newest checkpoint on: what a trainer does, without the training."""
    at = SimpleNamespace(step=0)
    keeper = CheckpointManager(run, every=0, keep=keep)
    if checkpoint.list_checkpoints(run.checkpoints):
        keeper.prepare()
        loads = SimpleNamespace(load=lambda state: setattr(at, "step", state[1]["step"]))
        keeper.restore(loads, *checkpoint.find_newest(keeper.folder))
    while at.step < until:
        at.step += 1
        keeper.save(small(at.step), error=1 / at.step if at.step % 3 == 0 else None)


def main(run, kills):
    dice = random.Random(0)
    wrong = []
    for round_ in range(kills):
        pid = os.fork()
        if pid == 0:
            try:
                save_on_and_on(run, keep=1 + round_ % 2)
            finally:
                os._exit(1)
        until = time.monotonic() + 60
        while len(checkpoint.list_checkpoints(run.checkpoints)) < 2 and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.04))
        os.kill(pid, signal.SIGKILL)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -signal.SIGKILL:
            wrong.append(f"round {round_}: the child ended by itself")
        states = {}
        for path in checkpoint.list_checkpoints(run.checkpoints):
            try:
                states[path.name] = checkpoint.load(path)
            except CheckpointError as error:
                wrong.append(f"round {round_}: {error}")
        if len(states) < 2:
            wrong.append(f"round {round_}: only {list(states)} left")
        best = states[max(states)][1]["best"]
        if best and best["name"] not in states:
            wrong.append(f"round {round_}: the best, {best['name']}, is gone; {list(states)} left")
    last = checkpoint.load_newest(run.checkpoints)[1]["step"]
    save_on_and_on(run, keep=2, until=last + 2)
    print(
        json.dumps({"written": last, "left": sorted(path.name for path in run.checkpoints.iterdir()), "wrong": wrong})
    )


if __name__ == "__main__":
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    main(Run(sys.argv[1]), int(sys.argv[2]))
