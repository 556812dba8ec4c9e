"""The benchmark programs start, and `benchmarks/gpu.py --smoke` runs all that it runs on a GPU, tiny on a CPU."""

import importlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest

from diptych.data.images import image_io

FOLDER = Path(__file__).parents[1] / "benchmarks"
WORKERS = {  # what a program asks its own processes to do, at a small size
    "step": "--worker pix2pix 32 --side fp32",
    "stargan_step": "--side exact --size 64 --batch 2 --width 4 --n-critic 2",
    "starganv2_step": "--worker published --size 32 --batch 2 --width 4 --domains 2",
    "styles_step": "--method cut --side exact --size 32 --width 4",
}


@pytest.fixture
def program(monkeypatch):
    """Import a program by its name, with the modules beside it."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def test_programs_can_be_imported(program):
    for file in FOLDER.glob("*.py"):
        program(file.stem)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_takes_steps(name, program, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, *WORKERS[name].split(), "--device", "cpu"])
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    program(name).main()
    ready, seconds, peak = capsys.readouterr().out.split()
    assert ready == "ready"
    assert float(seconds) > 0
    assert float(peak) > 0


@pytest.mark.slow
def test_all_parts_of_the_gpu_run_work_on_a_cpu(program, capsys, tmp_path):
    assert program("gpu").main(["--smoke", "-o", str(tmp_path)]) == 0, capsys.readouterr().out
    page = (tmp_path / "gpu.md").read_text()
    assert "FAILED" not in page
    assert "Error" not in page
    for name in ("out of memory names what fits", "second derivatives", "| srgan | 1 | fp32 |", "bf16 compile"):
        assert name in page
    assert "| letters, because facades were not found | 1 |" in page
    assert (tmp_path / "gpu-facades.jpg").stat().st_size > 1000


@pytest.mark.slow
def test_an_image_of_any_size_is_drawn(program, run, tmp_path, monkeypatch, capsys):
    image_io.write(tmp_path / "letter.png", np.zeros((40, 50, 1), np.uint8))
    files = [str(run), str(tmp_path / "letter.png"), "--target", str(tmp_path / "letter.png")]
    monkeypatch.setattr(sys, "argv", ["any_size", *files, "--side", "96", "-o", str(tmp_path / "sheet.png")])
    module = program("any_size")
    module.main()
    said = capsys.readouterr().out
    assert "pix2pix, trained on 32 pixels" in said
    assert said.count("difference to the target") == 2
    assert image_io.read(tmp_path / "sheet.png").shape == (96 + module.TOP, 4 * 96, 3)
