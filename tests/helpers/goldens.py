"""Reading golden files, and the bar for whole training steps. All but the arithmetic comes from a file's metadata."""

import functools
import importlib.util
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from material import folder_of
from safetensors import safe_open
from torch import Tensor

FOLDER = folder_of("DIPTYCH_GOLDEN", "shared/golden")

LOSS = 1e-5  # of |loss| + 0.1: the bar before any update, and the floor of the bar after one
OUTPUT = 1e-5  # the floor of the bar for outputs of networks
TIMES = 5  # how much farther from our float64 run the reference may be than our float32 runs are
NUDGES = 6  # float32 runs with nudged weights
NUDGE = 2.0**-20  # standard deviation of a nudge, relative: 16 times the largest rounding error of a float32


def files(*families: str) -> list[Path]:
    found = [path for path in sorted(FOLDER.glob("*.safetensors")) if path.name.startswith(families)]
    assert found, f"no golden of {families} in {FOLDER}"
    return found


@dataclass(frozen=True)
class Golden:
    tensors: dict[str, Tensor]
    notes: dict[str, Any]
    nudge: int | None = None  # a seed: `state` gives weights that are off by about `NUDGE`

    def state(self, name: str = "") -> dict[str, Tensor]:
        """The reference's state dict of one network, rebuilt from its keys."""
        prefix = self.notes.get("prefixes", {}).get(name, "")
        keys = self.notes[f"keys_{name}" if name else "keys"]
        weights = {key: filler().weight(prefix + key, shape, self.notes["salt"]) for key, shape in keys.items()}
        if self.nudge is None:
            return weights
        generator = torch.Generator().manual_seed(self.nudge)
        return {key: nudged(value, generator) for key, value in weights.items()}


def nudged(weight: Tensor, generator: torch.Generator) -> Tensor:
    if not weight.is_floating_point():
        return weight
    return weight * (1 + NUDGE * torch.randn(weight.shape, generator=generator, dtype=torch.float64)).to(weight.dtype)


def load(path: Path) -> Golden:
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        notes = dict(file.metadata())
    for key, text in notes.items():
        if text.startswith(("{", "[")):
            notes[key] = json.loads(text)
    return Golden(tensors, notes)


@functools.cache
def filler() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill", FOLDER / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Trained:
    """What whole training steps give."""

    losses: Tensor  # (steps, columns)
    outputs: dict[str, Tensor]  # of networks after the last step, by their name in the golden


Train = Callable[[Golden, torch.dtype], Trained]  # the steps of a golden, in this arithmetic


def stored(golden: Golden, names: Collection[str]) -> Trained:
    """What the reference got."""
    return Trained(golden.tensors["losses"], {name: golden.tensors[name] for name in names})


def rounded(golden: Golden, train: Train, steps: int) -> Golden:
    """The golden with so many steps, of our own in float32, as another CPU would round them."""
    longer = replace(golden, tensors={**golden.tensors, "losses": torch.zeros(steps, 1)}, nudge=NUDGES)
    made = train(longer, torch.float32)
    return replace(golden, tensors={**golden.tensors, "losses": made.losses, **made.outputs})


def assert_steps_equal(golden: Golden, train: Train, before: Collection[str], nudges: int = NUDGES) -> None:
    """Assert that `train` takes the steps of the reference, up to rounding.

    The losses `before` equal to 1e-5: columns which the first step computes before any update, and without a derivative
    of a network. All else may be up to `TIMES` as far from our float64 run as our float32 runs are, in the mean and in
    the 99.9th percentile.

    One float32 run does not show what rounding can do. Adam's first steps are of full size however small a gradient is,
    and the slope of a (leaky) ReLU jumps at 0, so where a gradient or an activation is near 0, the kernels of each CPU
    choose its sign. Most runs stay within 1e-6 of float64; where one sign differs, outputs are off by 1e-4 and a
    gradient penalty by 4e-4 of its size. Runs with nudged weights meet such signs on any CPU.
    """
    exact, single = train(golden, torch.float64), train(golden, torch.float32)
    ours = [single, *(train(replace(golden, nudge=seed), torch.float32) for seed in range(nudges))]
    theirs, columns = stored(golden, exact.outputs), golden.notes["loss_columns"]
    assert theirs.losses.shape == exact.losses.shape == (len(theirs.losses), len(columns))
    for at, column in enumerate(columns):
        if column in before:
            off = max(abs(float(loss_errors(theirs, run, 0)[at])) for run in (exact, single))
            assert off <= LOSS, f"steps differ: {column} before any update, by {off:.1e}"
    for step in range(len(exact.losses)):
        later = [at for at, column in enumerate(columns) if step or column not in before]
        errors = [loss_errors(run, exact, step)[later] for run in (theirs, *ours)]
        assert_rounding(f"losses of step {step + 1}", *errors, floor=LOSS)
    for name, value in exact.outputs.items():
        assert_rounding(name, *(run.outputs[name] - value for run in (theirs, *ours)), floor=OUTPUT)


def loss_errors(run: Trained, exact: Trained, step: int) -> Tensor:
    """By how much each loss of a step is off, of its size; one near 0 is a difference of larger numbers, hence 0.1."""
    return (run.losses[step].double() - exact.losses[step]) / (exact.losses[step].abs() + 0.1)


def assert_rounding(name: str, theirs: Tensor, *ours: Tensor, floor: float) -> None:
    """Each is a difference from the float64 run."""
    for measure, of in {"mean": Tensor.mean, "99.9th percentile": lambda x: x.quantile(0.999)}.items():
        off, *rounding = (float(of(x.double().abs().flatten())) if len(x) else 0.0 for x in (theirs, *ours))
        bar = TIMES * max(rounding) + floor
        assert off <= bar, f"steps differ: {name}, {measure} {off:.1e} where rounding explains {bar:.1e}"
