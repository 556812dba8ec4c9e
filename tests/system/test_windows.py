"""Diptych without what Windows lacks: hidden from processes that a test starts, and missing on Windows itself."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from windows import hiding

from diptych.runs.events import read_events
from diptych.system import atomic_files, hardware

WHOLE_PATH = """
import importlib, pkgutil, sys
from pathlib import Path
from commands import TINY, diptych as command
import diptych
from diptych.training import trainer

if __name__ == "__main__":  # data workers import this file
    for module in pkgutil.walk_packages(diptych.__path__, "diptych."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    folder = Path(sys.argv[1])
    run = folder / "run"
    trainer.peak_gib = lambda device: None  # as without psutil
    settings = [word for word in TINY if not word.startswith("workers")]
    for words in (
        ("train", "pix2pix", *settings, "workers=1", "steps=3", "log_every=1", "preview_images=1", "-o", run),
        ("resume", run, "log_every=2", "workers=0"),
        ("translate", run, folder / "photo.png", "-o", folder / "out"),
        ("evaluate", run, "--count", "2"),
    ):
        result = command(*words)
        assert result.exit_code == 0, result.output
"""
INSPECT = """
import sys
from diptych.data.checks.worker_pool import inspect_files
print(sorted((key, info.height) for key, info in inspect_files({"a": sys.argv[1], "b": "none"}, 2)))
"""
LOCK = """
import sys
from diptych.system.file_lock import lock_file
with open(sys.argv[1], "a+") as file:
    lock_file(file)
    file.truncate(0)
    print("owner", file=file, flush=True)
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts Python in a process without what Windows lacks."""
    environment = hiding(tmp_path_factory.mktemp("site"))

    def start(*words):
        command = [sys.executable, "-W", "error", *map(str, words)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=environment, text=True, **pipes)

    return start


@pytest.mark.slow
def test_a_run_is_trained_resumed_translated_and_evaluated(start, tmp_path):
    (tmp_path / "whole_path.py").write_text(WHOLE_PATH, encoding="utf-8")
    Image.fromarray(np.full((32, 32, 3), 128, np.uint8)).save(tmp_path / "photo.png")
    with start(tmp_path / "whole_path.py", tmp_path) as process:
        output, errors = process.communicate()
    assert process.returncode == 0, output + errors
    logged = [event for event in read_events(tmp_path / "run" / "events.jsonl") if event["event"] == "step"]
    assert [event["step"] for event in logged] == [1, 2, 3]
    assert not any("peak_gib" in event for event in logged)
    with Image.open(tmp_path / "out" / "photo.png") as image:
        assert image.size == (32, 32)
    assert list((tmp_path / "run" / "results").glob("*.json"))


def test_images_are_inspected_by_processes(start, tmp_path):
    Image.new("RGB", (4, 6)).save(tmp_path / "a.png")
    with start("-c", INSPECT, tmp_path / "a.png") as process:
        assert process.communicate() == ("[('a', 6), ('b', 0)]\n", "")


def test_a_file_is_locked_until_its_process_ends(start, tmp_path):
    words = "-c", LOCK, tmp_path / "lock"
    with start(*words) as owner:
        assert owner.stdout.readline() == "locked\n"
        with start(*words) as other:
            assert "PermissionError" in other.communicate()[1]
        assert (tmp_path / "lock").read_text() == "owner\n"  # though it is locked
        owner.kill()
    with start(*words) as other:
        assert other.communicate() == ("locked\n", "")


@pytest.mark.slow
def test_a_foreign_file_is_read_without_limits_of_the_system(start, tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "net.pth")
    with start("-m", "diptych.importers.sandbox", tmp_path / "net.pth", tmp_path) as process:
        assert process.communicate()[1] == ""
    assert load_file(tmp_path / "weights.safetensors")["weight"].tolist() == [1, 1]


def test_files_are_synced_opened_to_write_and_folders_are_not(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    opened, plain = [], os.open
    monkeypatch.setattr(atomic_files, "IS_WINDOWS", True)
    monkeypatch.setattr(os, "open", lambda path, flags: opened.append((path, flags)) or plain(path, flags))
    atomic_files.sync(tmp_path / "file")
    atomic_files.sync(tmp_path)
    assert opened == [(tmp_path / "file", os.O_RDWR)]


def test_no_signal_is_sent_to_learn_whether_a_process_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_files, "IS_WINDOWS", True)
    monkeypatch.setattr(os, "kill", None)
    folders = [tmp_path / f".{name}.{os.getpid() + 1}.part" for name in ("new", "old")]
    for folder in folders:
        folder.mkdir()
    os.utime(folders[1], (0, 0))
    atomic_files.remove_leftovers(tmp_path)
    assert [folder.exists() for folder in folders] == [True, False]


@pytest.mark.parametrize("has_psutil", [False, True])
def test_memory_is_that_of_psutil_where_it_is_installed(has_psutil, monkeypatch):
    memory = SimpleNamespace(available=2 * 2**30, total=4 * 2**30)
    peak = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=2**30))
    psutil = SimpleNamespace(virtual_memory=lambda: memory, Process=lambda: peak)
    monkeypatch.setitem(sys.modules, "psutil", psutil if has_psutil else None)
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(hardware, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(hardware, "Path", lambda path: Path("none"))
    monkeypatch.delattr(os, "sysconf", raising=False)
    found = hardware.peak_gib(torch.device("cpu")), hardware.free_gib(), hardware.total_gib()
    assert found == ((1, 2, 4) if has_psutil else (None, 0, None))
