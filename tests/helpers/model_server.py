"""Servers of small models, for tests: in a process of their own, as `diptych serve` starts them."""

import contextlib
import io
import os
import re
import subprocess
import sys

import numpy as np
from PIL import Image


def png(size=(24, 16), seed=0, mode="RGB", **options):
    """Return the bytes of a PNG of noise; `size` is width and height."""
    random = np.random.default_rng(seed)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    data = io.BytesIO()
    Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(data, "PNG", **options)
    return data.getvalue()


def picture(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@contextlib.contextmanager
def served_models(*words, preexec=None):
    """Run `diptych serve` on a free port; yields the address and the process."""
    command = [sys.executable, "-m", "diptych.cli", "serve", *map(str, words), "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}, preexec_fn=preexec
    )
    try:
        line = process.stdout.readline()
        yield re.search(r"http://[^/\s]+", line)[0], process
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def worker_of(process):
    """Return the process id of the worker of a server (Linux)."""
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        return int(file.read().split()[0])
