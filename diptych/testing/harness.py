"""What the checks share: a method with its tiny config on letters, its training, and its errors."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.contract import Batch, DataKind, Labels, Method, MethodConfig, Route
from diptych.data.batches import Batches
from diptych.data.config import DataConfig
from diptych.data.dataset import Data
from diptych.data.image_tensors import held_out_batch
from diptych.data.images.transforms import Augment
from diptych.data.open import open_data
from diptych.data.sources.glyphs import FACES, LATIN
from diptych.runs import checkpoint
from diptych.runs.checkpoint import State
from diptych.runs.preview import translate_route
from diptych.seeds import seed_for
from diptych.settings.train_config import TrainConfig
from diptych.system.distributed import Ranks
from diptych.training.cuda_graphs import Capture
from diptych.training.engine import Engine

PIXELS = 32  # height and width of the images
STEPS = 5  # enough for each part of the state (Adam, averaged weights, image pools) to be written and read
LOG_EVERY = 2  # steps, so that some checkpoints lie between two log records
CPU = torch.device("cpu")


@dataclass(frozen=True)
class MethodUnderTest:
    """A method class with its config `checks.tiny`, and letters as its data."""

    cls: type[Method]

    @property
    def spec(self) -> str:
        """The class as `module:Class`."""
        return f"{self.cls.__module__}:{self.cls.__qualname__}"

    def config(self, **changes: Any) -> MethodConfig:
        """Return the tiny config with these changes."""
        return self.cls.Config(**self.settings(**changes))

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Return the settings of the tiny config with these changes."""
        labels = Labels(names=tuple(LATIN) if self.cls.data == DataKind.TRANSFER else FACES)
        from_data: dict[str, Any] = dict.fromkeys(self.cls.channel_fields().values(), 1)
        from_data |= dict.fromkeys(self.cls.label_fields().values(), (labels,))
        if size_field := self.cls.image_size_field():
            from_data[size_field] = PIXELS
        return {"steps": STEPS, **from_data, **self.cls.checks.tiny, **changes}

    def engine(
        self,
        seed: int = 0,
        grad_accum_steps: int = 1,
        ranks: Ranks = Ranks(),
        double: bool = False,
        capture: Capture | None = None,
        **changes: Any,
    ) -> Engine:
        """Return an engine with new networks, in float64 if `double`, and `TinyFeatures` as pretrained networks."""
        torch.manual_seed(seed)
        method = self.cls(self.config(**changes))
        method.perceptual.update({name: TinyFeatures() for name in self.cls.feature_network_fields()})
        settings = TrainConfig(seed=seed, grad_accum_steps=grad_accum_steps, precision="fp32")
        return Engine(method.double() if double else method, settings, ranks=ranks, capture=capture)

    def batches(
        self,
        batch_size: int = 2,
        seed: int = 0,
        grad_accum_steps: int = 1,
        rank: int = 0,
        world: int = 1,
        flip: bool = True,
    ) -> Batches:
        """Return training batches; randomly cropped and flipped if `flip`, else always the same crops."""
        data = self._data()
        return Batches(
            data.train,
            self._channels(),
            Augment(36 if flip else PIXELS, PIXELS, flip=flip),
            batch_size,
            seed,
            grad_accum_steps=grad_accum_steps,
            rank=rank,
            world=world,
            extra_splits=tuple(other.train for other in data.others),
            balance_classes=self.cls.traits.balance_classes,
        )

    def held_out_batch(self, count: int = 32) -> Batch:
        """Return a batch of this many held-out samples."""
        data = self._data()
        classes = data.labels[0].names if data.labels and data.labels[0].kind == "class" else ()
        with torch.device("meta"):
            method = self.cls(self.config())
        batch = held_out_batch(data.held_out, self._channels(), Augment(PIXELS, PIXELS), count, classes)
        return method.derive_inputs(batch)

    def _data(self) -> Data:
        """Return letters with the labels of the config: classes are typefaces, attributes those of `glyphs`."""
        config = DataConfig(root="glyphs:sans", target_root="glyphs:serif-bold", crop_size=PIXELS)
        if self.cls.data != DataKind.TRANSFER:
            config = self._data_config()
        return open_data(config, self.cls.data, tuple(self.cls.batch))

    def _data_config(self) -> DataConfig:
        label_sets: tuple[Labels, ...] = ()
        for field in self.cls.label_fields().values():
            label_sets = vars(self.config())[field]
            break
        attributes = next((labels for labels in label_sets if labels.kind == "attributes"), None)
        roots = []
        for labels in label_sets:
            roots.append("glyphs" if labels is attributes else f"glyphs:{'/'.join(labels.names)}")
        first, *extra = roots or ["glyphs"]
        settings = {"attributes": attributes.names, "exclusive": attributes.exclusive} if attributes else {}
        return DataConfig(root=first, extra_roots=tuple(extra), crop_size=PIXELS, **settings)

    def _channels(self) -> dict[str, int]:
        """Return the number of channels by batch entry: all images are grayscale."""
        return dict.fromkeys(self.cls.channel_fields(), 1)


class TinyFeatures(nn.Module):
    """A feature network for perceptual losses: two convolutions with random weights of a fixed seed, frozen."""

    fine: Tensor
    coarse: Tensor

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name, shape in (("fine", (8, 1, 3, 3)), ("coarse", (8, 8, 3, 3))):
            self.register_buffer(name, torch.randn(shape, generator=generator) / 3)

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = F.relu(F.conv2d(x, self.fine.to(x), padding=1))
        return [fine, F.relu(F.conv2d(fine, self.coarse.to(x), stride=2, padding=1))]


def train(engine: Engine, batches: Batches, workers: int = 0, double: bool = False) -> Iterator[dict[str, float]]:
    """Train through all stages; yield after each step the log record, or {} between two records."""
    while True:
        for batch in batches.stream(engine.step, engine.stage.steps, workers):
            engine.train_step(to_float64(batch) if double else batch)
            yield engine.loss_tracker.close().means() if engine.step % LOG_EVERY == 0 else {}
        if engine.stage_index + 1 == len(engine.stages):
            return
        engine.start_stage(engine.stage_index + 1)


def observe_updates(engine: Engine, before: Callable[[], None], after: Callable[[tuple[str, ...]], None]) -> None:
    """Call `before` and `after` around each update of the engine, the latter with the names of the players."""
    engine.before_update, engine.after_update = before, after


def to_float64(batch: Batch) -> Batch:
    """Return the batch with images in float64 and labels unchanged."""
    return {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}


def routes_and_controls(method: Method) -> list[tuple[Route, dict[str, Any]]]:
    """Return every route with its controls, and with each choice of the controls that no route sets."""
    calls = [(route, dict(route.controls)) for route in method.routes]
    set_by_routes = {name for route in method.routes for name in route.controls}
    for control in method.controls:
        if control.name in set_by_routes:
            continue
        for route in method.routes:
            calls += [(route, {**route.controls, control.name: choice}) for choice in control.choices]
    return calls


def errors_by_route(engine: Engine, batch: Batch) -> dict[Route, float]:
    """Return the mean absolute error of each route with a known ground truth, with averaged weights."""
    errors = {}
    with engine.ema_weights.applied_to(engine.method):
        for route in engine.method.routes:
            target = route.target_in(batch, aligned=True)
            if target is not None:
                errors[route] = float((translate_route(engine.method, batch, route, CPU) - target).abs().mean())
    return errors


def fingerprint(state: State) -> str:
    """Return a hash of an engine's state."""
    tensors, meta = state
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    return checkpoint.digest(contiguous, json.dumps(meta, sort_keys=True))


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> tuple[float, str]:
    """Return the largest difference between the tensors of two states, and the name of its tensor.

    The sums for the next log record (`ledger`) are not compared.
    """
    names = [name for name in first if not name.startswith("ledger.")]
    assert set(names) == {name for name in second if not name.startswith("ledger.")}, "the states differ in entries"
    differences = []
    for name in names:
        difference = (first[name].double() - second[name].double()).abs()
        differences.append((float(difference.max()) if difference.numel() else 0.0, name))
    return max(differences)


def set_global_seeds(number: int) -> None:
    """Set the global random generators of Python, NumPy and torch to a state that depends on `number`."""
    for set_seed in (random.seed, np.random.seed, torch.manual_seed):
        set_seed(seed_for("scramble", number) % 2**32)
