"""Processes that train one model under `torchrun`: who we are, and means over all, without wrapping networks."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from diptych.errors import ConfigError


@dataclass(frozen=True)
class Ranks:
    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")

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


def join(device: str = "auto") -> Ranks:
    """Join the processes that `torchrun` started, by nccl on GPUs and gloo on CPUs; alone without it.

    Raises ConfigError for a device that is not there.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and ":" in device:
        raise ConfigError(f"device={device}: each of the {world} processes takes its own GPU; use device=cuda or auto")
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world == 1:
        return Ranks(device=chosen)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Ranks(distributed.get_rank(), world, chosen)


def leave() -> None:
    """Part from the other processes, once all of them are done."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


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
