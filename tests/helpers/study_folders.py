"""Studies of small images, made for tests."""

import os
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from diptych.studies.design import design_of
from diptych.studies.study_folder import create

ONE_FOR_ALL = {"interval_ms": 0, "fixation_ms": 0}


def folders(root, arms=("real", "one", "two"), count=12, size=32):
    """Write images of each arm, whose contrast and so length differ; return their paths by arm and name."""
    random, files = np.random.default_rng(0), {}
    for place, arm in enumerate(arms):
        (root / arm).mkdir(parents=True)
        files[arm] = {}
        for number in range(count):
            path = root / arm / f"{number:03d}.png"
            Image.fromarray(random.integers(0, 256 >> place, (size, size, 3), np.uint8)).save(path)
            files[arm][path.stem] = path
    return files


def study(root, preset="pix2pix-2017", arms=("real", "one", "two"), count=12, size=32, **values):
    files = folders(root / "images", arms, count, size)
    design = design_of(preset, **values)
    return create(root / "study", design, files, {arm: arm for arm in arms})


def wait_for(port):
    """Return when a server on this machine takes connections; the address is printed just before."""
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")


@contextmanager
def served(folder, *options):
    """Run `diptych study serve` on a free port; yields the address and the process."""
    command = [sys.executable, "-m", "diptych.cli", "study", "serve", str(folder), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        address = re.search(r"http://\S+", process.stdout.readline())[0]
        wait_for(urlsplit(address).port)
        yield address.rstrip("/"), process
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
