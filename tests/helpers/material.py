"""Reference material that lies beside the project: numbers, images, weights."""

import os
from pathlib import Path

import pytest


def folder_of(variable: str, default: str) -> Path:
    """A folder of reference material beside the project; without it the test is skipped, but never under CI."""
    path = Path(os.environ.get(variable, Path(__file__).parents[3] / default))
    if not path.is_dir() and not os.environ.get("CI"):
        pytest.skip(f"no reference material: {path} is missing (set {variable})", allow_module_level=True)
    return path
