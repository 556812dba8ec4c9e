"""Processes that train one model under `torchrun`: who we are, and means over all, without wrapping networks."""

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

GRACE = 5.0  # seconds in which each process that still runs answers the roll call
SIGNS = ("gloo", "nccl", "connection", "timed out", "timeout", "socket")  # in what a lost process makes torch say


@dataclass(frozen=True)
class Ranks:
    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")
    store: Any = None  # what all processes can write to and read, where there are several

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to the person."""
        return self.rank == 0

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over all ranks, in one flat all-reduce."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        parts = (flat / self.world).split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether the flag is raised on any rank; all ranks must ask together."""
        if self.world == 1:
            return flag
        raised = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(raised, op=distributed.ReduceOp.MAX)
        return bool(raised.item())

    def after_first(self) -> None:
        """The others wait here, however long, until the first has been here: what it does takes no patience."""
        if self.world == 1:
            return
        with self.watched(None):
            if self.first:
                self.store.set("first/done", "")
            while not self.store.check(["first/done"]):
                time.sleep(0.2)

    @contextmanager
    def watched(self, step: int | None) -> Iterator[None]:
        """Turn what torch says when another process is lost into a TrainingError that names it."""
        try:
            yield
        except RuntimeError as error:
            if self.world == 1 or not any(sign in str(error).lower() for sign in SIGNS):
                raise
            faulthandler.dump_traceback()
            where = "before the first step" if step is None else f"step {step}"
            raise TrainingError(
                f"{where}: {self._roll_call()}. Nothing of this step is kept; the last checkpoint is whole: start all "
                f"processes again with `diptych resume` ({str(error).splitlines()[0]})"
            ) from error

    def _roll_call(self) -> str:
        """Everyone who finds the others silent signs; whoever has not signed after a while is lost."""
        lost: list[int] = []
        call = Thread(target=lambda: lost.extend(self._lost()), daemon=True)
        call.start()
        call.join(3 * GRACE)
        if call.is_alive():  # where one signs hangs too
            lost = [0]
        if not lost:
            return f"the {self.world} processes lost each other, but all of them run: the network failed"
        return f"rank {' and '.join(map(str, lost))} of {self.world} died or hangs"

    def _lost(self) -> list[int]:
        """Who does not sign; the first rank if there is nothing to sign, for the store is kept where it runs."""
        with suppress(RuntimeError):
            self.store.set(f"here/{self.rank}", socket.gethostname())
            time.sleep(GRACE)
            return [rank for rank in range(self.world) if not self.store.check([f"here/{rank}"])]
        return [0]


def join(device: str = "auto", patience: float = 10.0) -> Ranks:
    """Join the processes that `torchrun` started, by nccl on GPUs and gloo on CPUs; alone without it.

    A process that keeps the others waiting for `patience` minutes is given up. Raises ConfigError for a device that
    is not there.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise ConfigError(
            f"WORLD_SIZE={world}, but no RANK, MASTER_ADDR, MASTER_PORT: start it with torchrun, or unset it"
        )
    if world > 1 and ":" in device:
        raise ConfigError(f"device={device}: each of the {world} processes takes its own GPU; use device=cuda or auto")
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world == 1:
        return Ranks(device=chosen)
    store, rank, world = _met()
    if not distributed.is_initialized():
        backend, limit = "nccl" if chosen.type == "cuda" else "gloo", timedelta(minutes=patience)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=limit)
    return Ranks(rank, world, chosen, store)


@cache
def _met() -> tuple[Any, int, int]:
    """The store of all processes, which of them this is, and how many there are."""
    from torch.distributed.rendezvous import rendezvous

    return next(rendezvous("env://"))


def leave() -> None:
    """Part from the other processes, once all of them are done."""
    if distributed.is_available() and distributed.is_initialized():
        try:
            distributed.barrier()
        except RuntimeError as error:
            raise RunError(f"another process was lost at the very end; what is kept is whole ({error})") from error
        distributed.destroy_process_group()
        _met.cache_clear()


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """`auto` is this rank's GPU where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()):
        raise ConfigError(f"device={name}: use auto, cpu, cuda or cuda:NUMBER")
    if kind == "cpu":
        return torch.device("cpu")
    there, number = torch.cuda.device_count(), int(index or local_rank)
    if number >= there:
        raise ConfigError(
            f"device={name}: torch {torch.__version__} sees {there} GPUs here, and none is number {number}"
        )
    return torch.device("cuda", number)
