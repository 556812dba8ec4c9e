"""Reading golden files: everything but the arithmetic comes from each file's metadata."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from material import folder_of
from safetensors import safe_open
from torch import Tensor

FOLDER = folder_of("DIPTYCH_GOLDEN", "shared/golden")


def files(*families: str) -> list[Path]:
    found = [path for path in sorted(FOLDER.glob("*.safetensors")) if path.name.startswith(families)]
    assert found, f"no golden of {families} in {FOLDER}"
    return found


@dataclass(frozen=True)
class Golden:
    tensors: dict[str, Tensor]
    notes: dict[str, Any]

    def state(self, name: str = "") -> dict[str, Tensor]:
        """The reference's state dict of one network, rebuilt from its keys."""
        prefix = self.notes.get("prefixes", {}).get(name, "")
        keys = self.notes[f"keys_{name}" if name else "keys"]
        return {key: filler().weight(prefix + key, shape, self.notes["salt"]) for key, shape in keys.items()}


def load(path: Path) -> Golden:
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        notes = dict(file.metadata())
    for key, text in notes.items():
        if text.startswith(("{", "[")):
            notes[key] = json.loads(text)
    return Golden(tensors, notes)


def filler() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill", FOLDER / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
