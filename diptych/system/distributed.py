"""Data-parallel training under `torchrun`: rank and world size, and means over all ranks.

Networks are not wrapped in DistributedDataParallel: the engine averages gradients itself, once per update.
"""

import faulthandler
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from threading import Thread
from typing import Any

import torch
from torch import Tensor, distributed

from diptych.errors import ConfigError, RunError, TrainingError

ROLL_CALL_SECONDS = 5.0  # time in which each running rank signs the roll call
COMMUNICATION_ERRORS = ("gloo", "nccl", "connection", "timed out", "timeout", "socket")  # words in torch's messages


@dataclass(frozen=True)
class Ranks:
    """This process among those that train one model together."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = torch.device("cpu")
    store: Any = None  # the key-value store that all ranks share; None for a single process

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over all ranks, in one flat all-reduce."""
        if self.world_size == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        means = (flat / self.world_size).split([tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank. All ranks must call this together."""
        if self.world_size == 1:
            return flag
        maximum = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(maximum, op=distributed.ReduceOp.MAX)
        return bool(maximum.item())

    def wait_for_main(self) -> None:
        """Barrier without timeout: other ranks wait until rank 0 arrives."""
        if self.world_size == 1:
            return
        with self.watched(None):
            if self.is_main:
                self.store.set("first/done", "")
            while not self.store.check(["first/done"]):
                time.sleep(0.2)

    @contextmanager
    def watched(self, step: int | None) -> Iterator[None]:
        """Turn torch's error about a lost rank into a TrainingError that names the rank."""
        try:
            yield
        except RuntimeError as error:
            if self.world_size == 1 or not any(word in str(error).lower() for word in COMMUNICATION_ERRORS):
                raise
            faulthandler.dump_traceback()
            where = "before the first step" if step is None else f"step {step}"
            raise TrainingError(
                f"{where}: {self._describe_lost_ranks()}. Nothing of this step is saved; the last checkpoint is "
                f"complete: start all processes again with `diptych resume` ({str(error).splitlines()[0]})"
            ) from error

    def _describe_lost_ranks(self) -> str:
        """Return a sentence that names the ranks that no longer answer."""
        lost: list[int] = []
        roll_call = Thread(target=lambda: lost.extend(self._roll_call()), daemon=True)
        roll_call.start()
        roll_call.join(3 * ROLL_CALL_SECONDS)
        if roll_call.is_alive():  # the store hangs, and it runs in rank 0
            lost = [0]
        if not lost:
            return f"the {self.world_size} processes lost each other, but all of them run: the network failed"
        return f"rank {' and '.join(map(str, lost))} of {self.world_size} died or hangs"

    def _roll_call(self) -> list[int]:
        """Return the ranks that did not sign in the store; rank 0 if the store, which runs there, is gone."""
        with suppress(RuntimeError):
            self.store.set(f"here/{self.rank}", socket.gethostname())
            time.sleep(ROLL_CALL_SECONDS)
            return [rank for rank in range(self.world_size) if not self.store.check([f"here/{rank}"])]
        return [0]


def join(device: str = "auto", timeout_minutes: float = 10.0) -> Ranks:
    """Join the processes that `torchrun` started, with nccl on GPUs and gloo on CPUs; without torchrun, train alone.

    A rank that keeps the others waiting for `timeout_minutes` is given up.
    Raises ConfigError if the device does not exist or the environment variables of torchrun are incomplete.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1 and not {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise ConfigError(
            f"WORLD_SIZE={world_size}, but no RANK, MASTER_ADDR, MASTER_PORT: start it with torchrun, or unset it"
        )
    if world_size > 1 and ":" in device:
        raise ConfigError(
            f"device={device}: each of the {world_size} processes takes its own GPU; use device=cuda or auto"
        )
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world_size == 1:
        return Ranks(device=chosen)
    store, rank, world_size = _rendezvous()
    if not distributed.is_initialized():
        distributed.init_process_group(
            "nccl" if chosen.type == "cuda" else "gloo",
            store=store,
            rank=rank,
            world_size=world_size,
            timeout=timedelta(minutes=timeout_minutes),
        )
    return Ranks(rank, world_size, chosen, store)


@cache
def _rendezvous() -> tuple[Any, int, int]:
    """Return the shared store, the rank of this process, and the world size."""
    from torch.distributed.rendezvous import rendezvous

    return next(rendezvous("env://"))


def leave() -> None:
    """Wait for all ranks, then leave the process group. RunError if a rank was lost."""
    if distributed.is_available() and distributed.is_initialized():
        try:
            distributed.barrier()
        except RuntimeError as error:
            raise RunError(f"another process was lost after training; what was saved is complete ({error})") from error
        distributed.destroy_process_group()
        _rendezvous.cache_clear()


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device of that name; `auto` is the GPU of this rank if there is one, else the CPU. ConfigError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()):
        raise ConfigError(f"device={name}: use auto, cpu, cuda or cuda:NUMBER")
    if kind == "cpu":
        return torch.device("cpu")
    count, number = torch.cuda.device_count(), int(index or local_rank)
    if number >= count:
        raise ConfigError(
            f"device={name}: torch {torch.__version__} sees {count} GPUs here, and none is number {number}"
        )
    return torch.device("cuda", number)
