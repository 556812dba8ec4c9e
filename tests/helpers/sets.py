"""Small sets of noise to train on and to damage, and a cache of its own for each test that imports `cache`."""

import os

import numpy as np
import pytest

from diptych.data.images import image_io


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DIPTYCH_CACHE", str(folder))
    return folder


def noise(seed, width=16, height=8, channels=3):
    """Coarse noise: each seed looks different from all others, also at 16 x 16 pixels."""
    values = np.random.default_rng(seed).integers(0, 256, (4, 8, channels), np.uint8)
    return image_io.resize(values, height, width)


def fill(folder, count, start=0, suffix=".png", **size):
    """`count` pictures 000, 001, ... of the seeds from `start` on; their paths."""
    files = [folder / f"{number:03}{suffix}" for number in range(count)]
    for number, file in enumerate(files):
        image_io.write(file, noise(start + number, **size))
    return files


def cut_short(file, share=0.6):
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    return file


def flip_bit(file, place=-40):
    """One bit, without a trace in size and date."""
    status, data = file.stat(), bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    return file
