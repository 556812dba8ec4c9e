"""Several ways to take a step, each in a process of its own, one step in turns."""

import statistics
import subprocess
import sys
import time

import torch

from diptych.system.hardware import peak_gib


def answer(step, device, warm=1):
    """In a worker: take a step whenever a line comes in, and say its seconds; at the end, the peak of memory."""
    for _ in range(warm):
        step()
    _wait(device)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        step()
        _wait(device)
        print(time.perf_counter() - began, flush=True)
    print(peak_gib(device))


def _wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(commands, rounds):
    """Seconds of every round, and GiB at the peak, by the name of each command."""
    workers = {
        side: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for side, command in commands.items()
    }
    for side, each in workers.items():
        assert each.stdout.readline() == "ready\n", f"{side} failed"
    times = {side: [] for side in workers}
    for _ in range(rounds):
        for side, each in workers.items():
            time.sleep(0.05)  # the threads of the other one go to sleep
            print(file=each.stdin, flush=True)
            times[side].append(float(each.stdout.readline()))
    return times, {side: float(each.communicate()[0]) for side, each in workers.items()}


def ratio(slow, fast):
    """The median over the rounds: above 1, the second is faster."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))
