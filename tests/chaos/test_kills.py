"""C1, C2, C6: real processes killed, or refused by the system, at every byte of a save and in the middle of a purge."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from checkpoints import small

from diptych.runs import checkpoint

HERE = Path(__file__).parent


@pytest.fixture
def memory():
    """A folder in memory, where fsync is free: what a kill leaves does not depend on the disk."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


def told(program, *words):
    """What a program of this folder found."""
    command = [sys.executable, "-W", "error", HERE / program, *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("writer", "stride"), [("bytes", 1), ("safetensors", 32)])
def test_a_save_killed_at_any_byte_loses_nothing(writer, stride, memory):
    """C1: the checkpoint before is whole, the new one is whole or not there, and the next start sweeps the rest."""
    checkpoint.save(memory / "0-00000007.safetensors", small(7))
    found = told("cut_saves.py", memory, "kill", writer, stride)
    assert found["wrong"] == []
    assert found["cut"] == found["swept"] == len(range(0, size(memory), stride))
    assert found["saved"] == 1


@pytest.mark.parametrize(("writer", "stride"), [("bytes", 1), ("safetensors", 32)])
def test_a_save_refused_at_any_byte_loses_nothing_and_leaves_nothing(writer, stride, memory):
    """C2: as a full disk does; OSError, the checkpoint before is whole, no litter."""
    checkpoint.save(memory / "0-00000007.safetensors", small(7))
    found = told("cut_saves.py", memory, "refuse", writer, stride)
    assert found["wrong"] == []
    assert (found["cut"], found["swept"]) == (len(range(0, size(memory), stride)), 0)


def test_a_keeper_killed_at_any_moment_leaves_two_whole_ones_and_the_best(memory):
    """C6: whether it keeps two or is told to keep one."""
    found = told("kill_keeper.py", memory, 40)
    assert found["wrong"] == []
    assert found["written"] > 20, "the kills came before the saves"
    assert len(found["left"]) <= 3, "an undisturbed start does not remove what the killed ones left"


def size(folder):
    return (folder / "0-00000007.safetensors").stat().st_size
