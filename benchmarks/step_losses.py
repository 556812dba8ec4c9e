"""Record the losses of every training step of every method and preset, and compare them bit for bit.

python benchmarks/step_losses.py before.json                        # write the losses, and a hash of the weights
python benchmarks/step_losses.py after.json --against before.json   # also compare; exit code 1 if anything differs

Each method trains a few steps with its tiny config (`Method.checks.tiny`) on the embedded letters, on one thread.
Losses are hexadecimal floats, so that equal files mean equal bits. Compare files of one machine and one torch version.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from diptych.contract import Method
from diptych.methods import EVALUATORS, METHODS, find
from diptych.system.atomic_files import write_text
from diptych.testing import MethodUnderTest
from diptych.training.engine import Engine

Record = dict[str, Any]  # {"losses": [[hex, ...] for each step], "weights": SHA-256}


def engine_for(cls: type[Method], preset: dict[str, Any]) -> Engine:
    """Return the engine of the tiny config with the settings of a preset that do not change its size."""
    fixed = {*cls.checks.tiny, "steps"}
    return MethodUnderTest(cls).engine(**{key: value for key, value in preset.items() if key not in fixed})


def train(cls: type[Method], engine: Engine) -> list[list[str]]:
    """Train through all stages and return the loss terms of each step as hexadecimal floats."""
    batches = MethodUnderTest(cls).batches()
    losses: list[list[str]] = []
    for stage_index in range(len(engine.stages)):
        if stage_index:
            engine.start_stage(stage_index)
        for batch in batches.stream(engine.step, engine.stage.steps, workers=0):
            engine.train_step(batch)
            losses.append([value.hex() for value in engine.loss_tracker.close().means().values()])
    return losses


def digest(method: Method) -> str:
    """Return the SHA-256 of all weights and buffers, in the order of the state dict."""
    total = hashlib.sha256()
    for tensor in method.state_dict().values():
        total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def record(name: str) -> dict[str, Record]:
    """Return the records of a method, by `METHOD/PRESET`. A preset that the tiny config contradicts is left out."""
    cls = find(name)
    records: dict[str, Record] = {}
    for preset, settings in cls.presets.items():
        try:
            engine = engine_for(cls, dict(settings))
        except ValidationError as error:
            print(f"{name}/{preset} is not recorded: {error.errors()[0]['msg']}")
            continue
        losses = train(cls, engine)
        records[f"{name}/{preset}"] = {"losses": losses, "weights": digest(engine.method)}
    return records


def differences(before: dict[str, Record], after: dict[str, Record]) -> list[str]:
    """Return one line for each record that is missing or not equal bit for bit, of the methods in `after`."""
    methods = {key.partition("/")[0] for key in after}
    expected = {key: value for key, value in before.items() if key.partition("/")[0] in methods}
    lines = [f"{key}: not recorded before" for key in after if key not in expected]
    for key, old in expected.items():
        if key not in after:
            lines.append(f"{key}: recorded before, now missing")
            continue
        lines += _changes(key, old, after[key])
    return lines


def _changes(key: str, old: Record, new: Record) -> list[str]:
    if len(old["losses"]) != len(new["losses"]):
        return [f"{key}: {len(old['losses'])} steps before, {len(new['losses'])} now"]
    for step, (one, other) in enumerate(zip(old["losses"], new["losses"], strict=True)):
        if one != other:
            return [f"{key}: step {step} differs: {_decimal(one)} before, {_decimal(other)} now"]
    return [f"{key}: the final weights differ, the losses do not"] if old["weights"] != new["weights"] else []


def _decimal(losses: list[str]) -> list[float]:
    return [float.fromhex(loss) for loss in losses]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="JSON file to write")
    parser.add_argument("--against", type=Path, metavar="FILE", help="file of an earlier run to compare with")
    parser.add_argument(
        "--methods", nargs="+", choices=[*METHODS, *EVALUATORS], default=[*METHODS, *EVALUATORS], metavar="NAME"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    records: dict[str, Record] = {}
    for name in options.methods:
        records |= record(name)
        print(f"{name}: {len(records)} presets so far", flush=True)
    write_text(options.output, json.dumps(records, indent=0))
    values = sum(len(losses) for entry in records.values() for losses in entry["losses"])
    print(f"{len(records)} presets, {values} loss values written to {options.output}")
    if options.against is None:
        return 0
    wrong = differences(json.loads(options.against.read_text()), records)
    print("\n".join(wrong) or f"equal to {options.against} in every bit")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
