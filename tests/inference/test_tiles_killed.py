"""A translation in tiles that is killed goes on, and writes the same bytes."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from translators import made

pytest.importorskip("tifffile")

PROGRAM = """
import signal, sys
import diptych

def progress(what, done, total):
    if what == "tiles" and done == int(sys.argv[4]):
        signal.raise_signal(signal.SIGKILL)

diptych.load(sys.argv[1], device="cpu").translate_large(sys.argv[2], sys.argv[3], tile=32, progress=progress)
"""


@pytest.mark.slow
def test_two_kills_leave_no_file_and_change_no_byte(tmp_path):
    translator = made("cyclegan", generator="resnet_1", ngf=4)
    translator.save(tmp_path / "model")
    pixels = np.random.default_rng(0).integers(0, 256, (100, 90, 3), np.uint8)
    np.save(tmp_path / "slide.npy", pixels)
    out = tmp_path / "out.tif"
    for finished in (3, 7):
        command = [sys.executable, "-c", PROGRAM, tmp_path / "model", tmp_path / "slide.npy", out, str(finished)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert not out.exists()
    seen = []
    translator.translate_large(
        tmp_path / "slide.npy", out, tile=32, progress=lambda what, done, total: seen.append((what, done))
    )
    assert seen[0] == ("tiles", 7)  # no statistics, and no tile before the eighth
    translator.translate_large(tmp_path / "slide.npy", tmp_path / "again.tif", tile=64)
    assert out.read_bytes() == (tmp_path / "again.tif").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if "partial" in path.name) == []
