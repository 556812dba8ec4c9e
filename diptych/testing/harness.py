"""A method as it is checked: its tiny config, on letters; how it is trained, compared, and run in a fresh process."""

import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.contract import Batch, DataKind, Labels, Method, MethodConfig, Route
from diptych.data.batches import Batches, held_out
from diptych.data.config import DataConfig
from diptych.data.dataset import Data
from diptych.data.images.transforms import Augment
from diptych.data.open import open_data
from diptych.data.sources.glyphs import FACES, LATIN
from diptych.runs import checkpoint
from diptych.runs.checkpoint import State
from diptych.runs.preview import translated
from diptych.seeds import seed_for
from diptych.system.distributed import Ranks
from diptych.training.cuda_graphs import Capture
from diptych.training.engine import Engine

PIXELS = 32
STEPS = 5  # enough that each kind of state (Adam, averages, pools) has been written and read
CPU = torch.device("cpu")
LOG_EVERY = 2  # so that cuts fall inside a line of the log


@dataclass(frozen=True)
class MethodUnderTest:
    """A method class as it is checked: tiny, on letters."""

    cls: type[Method]

    @property
    def spec(self) -> str:
        return f"{self.cls.__module__}:{self.cls.__qualname__}"

    def config(self, **over: Any) -> MethodConfig:
        faces = (Labels(names=tuple(LATIN) if self.cls.data == DataKind.TRANSFER else FACES),)
        seen: dict[str, Any] = dict.fromkeys(self.cls.channel_fields().values(), 1)
        seen |= dict.fromkeys(self.cls.label_fields().values(), faces)
        if size := self.cls.image_size_field():
            seen[size] = PIXELS
        return self.cls.Config(**{"steps": STEPS, **seen, **self.cls.checks.tiny, **over})

    def engine(
        self,
        seed: int = 0,
        grad_accum_steps: int = 1,
        ranks: Ranks = Ranks(),
        double: bool = False,
        capture: Capture | None = None,
        **over: Any,
    ) -> Engine:
        torch.manual_seed(seed)
        method = self.cls(self.config(**over))
        method.perceptual.update({name: TinyFeatures() for name in self.cls.feature_network_fields()})
        return Engine(
            method.double() if double else method,
            seed=seed,
            grad_accum_steps=grad_accum_steps,
            ranks=ranks,
            capture=capture,
        )

    def batches(
        self, size: int = 2, seed: int = 0, grad_accum_steps: int = 1, rank: int = 0, world: int = 1, flip: bool = True
    ) -> Batches:
        data, augment = self._data(), Augment(36 if flip else PIXELS, PIXELS, flip=flip)
        also, balanced = tuple(each.train for each in data.others), self.cls.traits.balance_classes
        grey = self._grey()
        return Batches(
            data.train,
            grey,
            augment,
            size,
            seed,
            grad_accum_steps=grad_accum_steps,
            rank=rank,
            world=world,
            also=also,
            balance_classes=balanced,
        )

    def truth(self, count: int = 32) -> Batch:
        data = self._data()
        names = data.labels[0].names if data.labels and data.labels[0].kind == "class" else ()
        with torch.device("meta"):
            method = self.cls(self.config())
        return method.derive_inputs(held_out(data.held_out, self._grey(), Augment(PIXELS, PIXELS), count, names))

    def _data(self) -> Data:
        """Letters, with the labels that the config asks for: what they have in common if that comes first, or faces."""
        if self.cls.data == DataKind.TRANSFER:
            config = DataConfig(root="glyphs:sans", target_root="glyphs:serif-bold", crop_size=PIXELS)
            return open_data(config, self.cls.data, tuple(self.cls.batch))
        sets: tuple[Labels, ...] = next((vars(self.config())[key] for key in self.cls.label_fields().values()), ())
        attributes = next((each for each in sets if each.kind == "attributes"), None)
        roots = ["glyphs" if each is attributes else f"glyphs:{'/'.join(each.names)}" for each in sets] or ["glyphs"]
        settings = {"attributes": attributes.names, "exclusive": attributes.exclusive} if attributes else {}
        config = DataConfig(root=roots[0], extra_roots=tuple(roots[1:]), crop_size=PIXELS, **settings)
        return open_data(config, self.cls.data, tuple(self.cls.batch))

    def _grey(self) -> dict[str, int]:
        return dict.fromkeys(self.cls.channel_fields(), 1)


class TinyFeatures(nn.Module):
    """What losses look through here: two layers with weights of a fixed seed, frozen."""

    fine: Tensor
    coarse: Tensor

    def __init__(self) -> None:
        super().__init__()
        made = torch.Generator().manual_seed(0)
        for name, shape in (("fine", (8, 1, 3, 3)), ("coarse", (8, 8, 3, 3))):
            self.register_buffer(name, torch.randn(shape, generator=made) / 3)

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = F.relu(F.conv2d(x, self.fine.to(x), padding=1))
        return [fine, F.relu(F.conv2d(fine, self.coarse.to(x), stride=2, padding=1))]


def run(engine: Engine, batches: Batches, workers: int = 0, double: bool = False) -> Iterator[dict[str, float]]:
    """Train to the end; yields after each step the line of the log, or nothing between two lines."""
    while True:
        for batch in batches.stream(engine.step, engine.stage.steps, workers):
            engine.train_step(doubled(batch) if double else batch)
            yield engine.loss_tracker.close().means() if engine.step % LOG_EVERY == 0 else {}
        if engine.place + 1 == len(engine.stages):
            return
        engine.start_stage(engine.place + 1)


def doubled(batch: Batch) -> Batch:
    """Images in float64, labels as they are."""
    return {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}


def ways(method: Method) -> list[tuple[Route, dict[str, Any]]]:
    """Every route, and with every choice of the controls that no route makes."""
    found = [(route, dict(route.controls)) for route in method.routes]
    made = {name for route in method.routes for name in route.controls}
    for control in method.controls:
        found += [
            (route, {**route.controls, control.name: choice})
            for route in method.routes
            for choice in control.choices
            if control.name not in made
        ]
    return found


def errors(engine: Engine, truth: Batch) -> dict[Route, float]:
    """Mean absolute error to the truth by route, where that is known, with averaged weights."""
    with engine.ema_weights.applied_to(engine.method):
        return {
            route: float((translated(engine.method, truth, route, CPU) - target).abs().mean())
            for route in engine.method.routes
            if (target := route.target_in(truth, aligned=True)) is not None
        }


def fingerprint(state: State) -> str:
    tensors, meta = state
    return checkpoint.digest(
        {name: value.contiguous() for name, value in tensors.items()}, json.dumps(meta, sort_keys=True)
    )


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> tuple[float, str]:
    """The largest difference between two states, and where. The open line of the log is no part of what is compared."""
    names = [name for name in one if not name.startswith("ledger.")]
    assert set(names) == {name for name in other if not name.startswith("ledger.")}, "the states have different entries"
    return max(
        ((float((one[name].double() - other[name].double()).abs().max()) if one[name].numel() else 0.0), name)
        for name in names
    )


def scramble(seed: int) -> None:
    """Leave every global generator somewhere else."""
    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(seed_for("scramble", seed) % 2**32)


def in_fresh_process(*words: str, ranks: int = 1) -> str:
    """What `python -m diptych.testing WORDS` prints, in so many processes that know of each other as under torchrun."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    if ranks > 1:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
    told = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {} for rank in range(ranks)]
    command = [sys.executable, "-m", "diptych.testing", *words]
    running = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**environment, **each}
        )
        for each in told
    ]

    def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
        said = process.communicate(timeout=600)
        if process.returncode:  # the others would wait for it
            for other in running:
                other.kill()
        return said

    with ThreadPoolExecutor(ranks) as pool:  # each is read while the others run
        ends = list(pool.map(ended, running))
    failed = [(process.returncode, errors) for process, (_, errors) in zip(running, ends, strict=True)]
    code, errors = max(failed)  # those that were killed have a code below 0, and did not fail by themselves
    assert not any(each for each, _ in failed), f"the fresh process ended with code {code}:\n{errors[-4000:]}"
    return "".join(said for said, _ in ends)
