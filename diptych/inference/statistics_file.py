"""Statistics of normalisation layers as a safetensors file, with what they belong to."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from diptych.errors import ConfigError
from diptych.networks.normalisation_statistics import Statistics
from diptych.system.atomic_files import atomic_write
from diptych.system.safe_parse import check_safetensors, parse_json

KEY = "diptych"  # of the metadata
LARGEST = 2**26  # bytes


def save_statistics(path: Path, statistics: Sequence[Statistics], facts: dict[str, Any]) -> None:
    """Write statistics atomically, with facts (plain data) about the model and the image. OSError."""
    tensors = {}
    for number, (mean, variance) in enumerate(statistics):
        tensors[f"{number:04d}.mean"], tensors[f"{number:04d}.variance"] = mean.contiguous(), variance.contiguous()
    with atomic_write(path) as part:
        save_file(tensors, part, {KEY: json.dumps(facts, sort_keys=True)})


def load_statistics(path: Path) -> tuple[list[Statistics], dict[str, Any]]:
    """Return the statistics of a file, and the facts stored with them. Raises ConfigError."""
    if not path.exists():
        raise ConfigError(f"{path}: there is no such file of statistics; choose sampled, whole, or a file")
    try:
        check_safetensors(path, LARGEST)
        with safe_open(path, framework="pt") as file:
            facts = parse_json((file.metadata() or {}).get(KEY, ""))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        numbers = range(len(tensors) // 2)
        statistics = [Statistics(tensors[f"{i:04d}.mean"], tensors[f"{i:04d}.variance"]) for i in numbers]
        if not isinstance(facts, dict) or not all(map(_is_valid, statistics)):
            raise ValueError("it has other tensors")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ConfigError(
            f"{path}: not a file of statistics ({error}): give one that --tile wrote beside an output"
        ) from error
    return statistics, facts


def _is_valid(statistics: Statistics) -> bool:
    mean, variance = statistics
    is_float = mean.dtype == variance.dtype == torch.float32 and mean.dim() == 1 and mean.shape == variance.shape
    return is_float and bool(mean.isfinite().all() and variance.isfinite().all() and (variance >= 0).all())
