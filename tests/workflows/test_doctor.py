"""`diptych doctor`, and what the engine knows of the machine."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from commands import diptych

from diptych.system import hardware
from diptych.system.hardware import is_out_of_memory, keep_freed_memory, peak_gib, precision_for
from diptych.workflows import doctor


def test_it_says_what_there_is_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "BENCHMARK", {"generator": "unet_256", "ngf": 1, "ndf": 1})
    out = diptych("doctor", tmp_path / "runs" / "deep", "--device", "cpu", "--seconds", "0")
    assert out.exit_code == 0
    shared = ["shared memory"] * (sys.platform == "linux")
    lines = ("machine", "python, torch", "device", "precision=auto", "run folder", *shared, "speed", "precision")
    assert [line.split("  ")[0] for line in out.stdout.splitlines()] == list(lines)
    assert precision_for(torch.device("cpu"))[1] in out.stdout
    assert torch.__version__ in out.stdout
    assert not list(tmp_path.iterdir())


def test_what_stands_in_the_way_of_training_is_exit_code_1(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    out = diptych("doctor", tmp_path / "file", "--device", "cuda:99", "--seconds", "0")
    assert out.exit_code == 1
    assert "none is number 99" in out.stdout
    monkeypatch.setattr(doctor, "BENCHMARK", {"generator": "unet_256", "ngf": 1, "ndf": 1})
    out = diptych("doctor", tmp_path / "file", "--device", "cpu", "--seconds", "0")
    assert out.exit_code == 1
    assert "cannot be written" in out.stdout


@pytest.mark.parametrize(
    ("gpus", "free", "warned"), [(0, 2**20, False), (1, 2**20, False), (2, 2**20, True), (2, 2**30, False)]
)
def test_the_size_of_shared_memory_is_shown_and_matters_to_several_gpus(gpus, free, warned, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(total=2**26, free=free))
    finding = doctor._check_shared_memory(gpus)
    assert finding.text.startswith(f"/dev/shm: 64 MiB, {free >> 20:,} MiB free")
    assert ("--shm-size" in finding.text) == warned
    assert not finding.is_problem


def test_a_machine_without_shared_memory_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "SHARED_MEMORY", tmp_path / "none")
    assert not doctor._check_shared_memory(1).is_problem
    assert doctor._check_shared_memory(2).is_problem


@pytest.mark.parametrize(("has", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_precision_goes_by_what_the_cpu_has(has, chosen, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert precision_for(torch.device("cpu"))[0] == chosen


def test_memory_that_is_short_is_known_by_any_name():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


def test_the_peak_of_memory_is_that_of_the_process():
    before = peak_gib(torch.device("cpu"))
    held = torch.ones(int((before + 0.1) * 2**28))
    assert peak_gib(torch.device("cpu")) > before + 0.05
    del held


PAGES = """
import resource, torch
from diptych.system.hardware import keep_freed_memory
if {hold}:
    assert keep_freed_memory()
def step():
    held = [torch.ones(9 * 2**20) for _ in range(3)]  # above 32 MiB: left to itself, the library never keeps these
step(); step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library is told so on Linux alone")
def test_memory_that_is_held_is_not_fetched_again():
    pages = {}
    for hold in (False, True):
        words = [sys.executable, "-c", PAGES.format(hold=hold)]
        pages[hold] = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert 5 * pages[True] < pages[False], pages  # some systems take back idle pages of their own accord


def test_elsewhere_memory_is_left_alone(monkeypatch):
    monkeypatch.setattr(hardware.sys, "platform", "darwin")
    assert not keep_freed_memory()
