"""Run under torchrun by test_ranks: what two processes must agree on."""

import os
import sys

import pytest
import torch
from torch import nn
from toy_method import Toy

from diptych.errors import TrainingError
from diptych.system.distributed import join, leave
from diptych.training.engine import Engine

ranks = join("cpu")


def normalised(method, batch, clock):
    yield "G", {"x": method.G(batch["source"]).square().mean()}


def bad_on_the_second(method, batch, clock):
    """An infinite term whose gradient is finite: nothing of it comes through the gradients to the other rank."""
    offset = float("inf") if ranks.rank == 1 and clock.step == 1 else 0.0
    yield "G", {"x": method.G(batch["source"]).mean() + offset}


torch.manual_seed(0)
method = Toy(normalised)
method.G = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))
engine = Engine(method, ranks=ranks)
engine.train_step({"source": torch.tensor([[1.0], [3.0]]) + 10 * ranks.rank})
mean = method.G[0].running_mean.item()
assert abs(mean - 0.1 * (2 + 12) / 2) < 1e-6, f"rank {ranks.rank}: running mean {mean} is not that of all ranks"

lines = engine.loss_tracker.close().means()
everyone = [None, None]
torch.distributed.all_gather_object(everyone, lines)
assert everyone[0] == everyone[1], f"each rank has a log of its own, so a checkpoint of one is not whole: {everyone}"

engine = Engine(Toy(bad_on_the_second), ranks=ranks)
engine.train_step({"source": torch.ones(2, 1)})
before = engine.method.G.weight.clone()
with pytest.raises(TrainingError, match="step 1: G/"):  # neither rank goes on alone
    engine.train_step({"source": torch.ones(2, 1)})
assert torch.equal(engine.method.G.weight, before)

assert ranks.any(ranks.rank == 1)
assert not ranks.any(False)
leave()
sys.stdout.flush()
os._exit(0)  # as the command line ends: see `diptych.cli`
