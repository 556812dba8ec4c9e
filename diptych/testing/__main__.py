"""Training runs in new processes, for the checks: `python -m diptych.testing resume SPEC FOLDER` or `ranks SPEC FILE`.

SPEC is the method class as `module:Class`.
"""

import os
import sys
from pathlib import Path

import torch

from diptych.methods import find
from diptych.networks.latents import constant_latents
from diptych.runs import checkpoint
from diptych.system.distributed import join, leave
from diptych.testing.harness import MethodUnderTest, fingerprint, set_global_seeds, train


def resume(spec: str, folder: str) -> None:
    """Resume from each checkpoint in a folder, with 0 and 2 data workers, and train to the end.

    Prints a line for each: step, workers, fingerprint of the final state, log records since.
    """
    method = MethodUnderTest(find(spec))
    for path in sorted(Path(folder).glob("cut-*.safetensors")):
        for workers in (0, 2):
            engine = method.engine(seed=0)
            set_global_seeds(workers)
            engine.load(checkpoint.load(path))
            records = [record for record in train(engine, method.batches(), workers) if record]
            print(path.stem.removeprefix("cut-"), workers, fingerprint(engine.state()), repr(records))


def train_ranks(spec: str, file: str) -> None:
    """Train as one rank of several, with the config of `checks.independent`, and save the final state to a file."""
    method, ranks = MethodUnderTest(find(spec)), join("cpu")
    engine = method.engine(ranks=ranks, double=True, **method.cls.checks.independent)
    with constant_latents():
        for _ in train(engine, method.batches(4, rank=ranks.rank, world=ranks.world_size), double=True):
            pass
    if ranks.is_main:
        checkpoint.save(Path(file), engine.state())
    leave()


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    {"resume": resume, "ranks": train_ranks}[sys.argv[1]](*sys.argv[2:])
