"""Two real processes under torchrun agree on statistics, on stopping, and on values that are not finite."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diptych.errors import ConfigError
from diptych.system.distributed import Ranks, choose_device, join


def test_two_processes_agree():
    worker = Path(__file__).parents[1] / "helpers" / "ranks_worker.py"
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(worker)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def test_alone_there_is_nothing_to_agree_on():
    ranks = Ranks()
    value = torch.ones(3)
    ranks.mean_([value])
    assert (ranks.any(True), ranks.any(False), ranks.is_main) == (True, False, True)
    assert torch.equal(value, torch.ones(3))
    assert join("cpu") == ranks


@pytest.mark.parametrize(
    "name", ["gpu", "cuda:0" if not torch.cuda.is_available() else "cuda:99x", "tpu:1", "mps", "meta"]
)
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(ConfigError, match=f"device={name}"):
        choose_device(name)
