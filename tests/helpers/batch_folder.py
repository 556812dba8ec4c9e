"""A folder with a model and a manifest, and its outputs."""

from pathlib import Path

import numpy as np
from commands import files
from onnx_files import metadata, write_onnx

from diptych.data.images import image_io


def write_job(folder: Path, count: int, side: int = 12) -> list[str]:
    """Write model.onnx, images in folders and manifest.txt, and return the names of the images."""
    write_onnx(folder / "model.onnx", metadata())
    random = np.random.default_rng(0)
    names = [f"in/{number % 3}/{number}.png" for number in range(count)]
    for name in names:
        image_io.write(folder / name, random.integers(0, 256, (side, side - 3, 3), np.uint8))
    (folder / "manifest.txt").write_text("\n".join(names) + "\n\n")
    return names


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return the translations below a folder, without the list of failures and what a killed process left."""
    names = [name for name in files(folder) if not name.endswith(".tsv") and ".part/" not in name]
    return {name: (folder / name).read_bytes() for name in names}
