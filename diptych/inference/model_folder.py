"""Write a model folder: `model.safetensors`, `config.json` and a model card, for `load` and for hubs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from diptych.contract import Method
from diptych.data.image_format import TrainingImages
from diptych.inference import model_card
from diptych.runs.checkpoint import without_shared_memory
from diptych.system.atomic_files import atomic_write, write_text
from diptych.system.hashes import sha256_of

FORMAT = 1


def write(
    folder: Path,
    method: Method,
    name: str,
    networks: Sequence[str],
    notes: dict[str, Any],
    images: TrainingImages | None = None,
) -> None:
    """Write the inference networks, their config, and how the training images were stored. Raises OSError."""
    weights = {key: value.contiguous() for key, value in method.state_dict().items()}
    try:
        with atomic_write(folder / "model.safetensors") as part:
            save_file(without_shared_memory(weights), part)
    except SafetensorError as error:  # how the library says that the disk is full
        raise OSError(str(error)) from error
    config = {
        "format": FORMAT,
        "sha256": sha256_of(folder / "model.safetensors"),
        "method": name,
        "networks": list(networks),
        "config": method.config.model_dump(),
        "notes": notes | ({"images": images.model_dump(mode="json")} if images else {}),
    }
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    write_text(folder / "README.md", model_card.write(method, name, notes, images))
