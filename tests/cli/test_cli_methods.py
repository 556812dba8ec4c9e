"""`diptych methods`: the list, and the settings of one method with default, symbol and description."""

import subprocess
import sys

import pytest
from commands import diptych

from diptych.methods import METHODS


def test_methods_are_listed_without_torch():
    code = (
        "import sys; from diptych.cli import show; show.methods(); print([m for m in ('torch',) if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in (*METHODS, "facades", "glyphs"))
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_explained(name):
    out = diptych("methods", name, env={"COLUMNS": "160"}).stdout
    assert all(word in out for word in ("arXiv", "presets", "lr", "crop", "batch", "control"))
