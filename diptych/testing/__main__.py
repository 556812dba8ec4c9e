"""What the checks ask of a fresh process: `python -m diptych.testing resume SPEC FOLDER`, `... ranks SPEC FILE`."""

import os
import sys
from pathlib import Path

import torch

from diptych.methods import find
from diptych.networks.latents import constant_latents
from diptych.runs import checkpoint
from diptych.system.distributed import join, leave
from diptych.testing.harness import MethodUnderTest, fingerprint, run, scramble


def answer_resume(spec: str, folder: str) -> None:
    """For each checkpoint in the folder and each number of workers: cut, workers, fingerprint of the end, log."""
    subject = MethodUnderTest(find(spec))
    for path in sorted(Path(folder).glob("cut-*.safetensors")):
        for workers in (0, 2):
            engine = subject.engine(seed=0)
            scramble(workers)
            engine.load(checkpoint.load(path))
            lines = [line for line in run(engine, subject.batches(), workers) if line]
            print(path.stem.removeprefix("cut-"), workers, fingerprint(engine.state()), repr(lines))


def answer_ranks(spec: str, file: str) -> None:
    subject, ranks = MethodUnderTest(find(spec)), join("cpu")
    engine = subject.engine(ranks=ranks, double=True, **find(spec).checks.independent)
    with constant_latents():
        for _ in run(engine, subject.batches(4, rank=ranks.rank, world=ranks.world), double=True):
            pass
    if ranks.first:
        checkpoint.save(Path(file), engine.state())
    leave()


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    {"resume": answer_resume, "ranks": answer_ranks}[sys.argv[1]](*sys.argv[2:])
