"""Training in new processes, for the checks: resumed from checkpoints, and as several ranks."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from typing import Any, TypeVar

import torch

from diptych.contract import Method
from diptych.networks.latents import constant_latents
from diptych.runs import checkpoint
from diptych.system.distributed import join, leave
from diptych.testing.harness import MethodUnderTest, fingerprint, set_global_seeds, train

T = TypeVar("T")
TIMEOUT = 600  # seconds
# A fork server imports torch once, instead of each process. Its processes share nothing with this one, as spawned ones.
FORKS = "forkserver" in multiprocessing.get_all_start_methods()
CONTEXT: ForkServerContext | SpawnContext = (
    multiprocessing.get_context("forkserver") if FORKS else multiprocessing.get_context("spawn")
)
if FORKS:
    CONTEXT.set_forkserver_preload(["diptych.testing.processes", "matplotlib", "torch._dynamo"])


def resume_all(cls: type[Method], folder: Path) -> list[tuple[int, int, str, list[dict[str, float]]]]:
    """Resume from each checkpoint in a folder, by turns with 0 and 2 data workers, and train to the end.

    Returns for each: its number, data workers, fingerprint of the final state, log records since.
    """
    method, results = MethodUnderTest(cls), []
    for step, path in enumerate(sorted(folder.glob("step-*.safetensors"))):
        engine, workers = method.engine(seed=0), 2 * (step % 2)
        set_global_seeds(step)
        engine.load(checkpoint.load(path))
        records = [record for record in train(engine, method.batches(), workers) if record]
        results.append((step, workers, fingerprint(engine.state()), records))
    return results


def train_as_rank(cls: type[Method], file: Path) -> None:
    """Train as one rank of several, with the config of `checks.independent`, and save the final state to a file."""
    method, ranks = MethodUnderTest(cls), join("cpu")
    engine = method.engine(ranks=ranks, double=True, **cls.checks.independent)
    with constant_latents():
        for _ in train(engine, method.batches(4, rank=ranks.rank, world=ranks.world_size), double=True):
            pass
    if ranks.is_main:
        checkpoint.save(file, engine.state())
    leave()


def run_in_new_processes(work: Callable[..., T], *arguments: Any, ranks: int = 1) -> list[T]:
    """Return the results of `work(*arguments)` in a new process, or in several that train together.

    Raises AssertionError with the traceback if one fails. The others are killed, as they would wait for it.
    """
    results: dict[int, Any] = {}
    running: dict[Connection, int] = {}
    processes = []
    try:
        for rank, variables in enumerate(_rank_variables(ranks)):
            receiver, sender = CONTEXT.Pipe(duplex=False)
            target = (sender, torch.get_num_threads(), variables, work, arguments)
            processes.append(CONTEXT.Process(target=_send_result, args=target, daemon=False))
            processes[-1].start()
            sender.close()
            running[receiver] = rank
        while running:
            ready = wait(list(running), TIMEOUT)
            assert ready, f"a new process that trains the method has not ended after {TIMEOUT} s"
            for receiver in running.keys() & set(ready):
                results[running.pop(receiver)] = _received(receiver)
    except BaseException:
        for process in processes:
            process.kill()
        raise
    finally:
        for process in processes:
            process.join()
    return [results[rank] for rank in range(ranks)]


def _send_result(
    sender: Connection, threads: int, variables: dict[str, str], work: Callable[..., T], arguments: tuple[Any, ...]
) -> None:
    """Send the result of the work, or the traceback of its error."""
    multiprocessing.set_start_method(None, force=True)  # data workers start as usual, not from another fork server
    os.environ.update(variables)
    torch.set_num_threads(threads)
    try:
        sender.send((work(*arguments), ""))
    except BaseException:
        sender.send((None, traceback.format_exc()))


def _received(receiver: Connection) -> Any:
    """Return the result that a process sends. AssertionError if it failed, or ended without a result."""
    try:
        result, error = receiver.recv()
    except EOFError:
        error = "it ended without a result: the class cannot be imported there, memory ran out, or native code crashed"
    assert not error, f"a new process that trains the method failed:\n{error[-4000:]}"
    return result


def _rank_variables(ranks: int) -> list[dict[str, str]]:
    """Return the environment variables of each rank, as torchrun sets them."""
    if ranks == 1:
        return [{}]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]
