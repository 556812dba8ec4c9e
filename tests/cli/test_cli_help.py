"""`--help` of every command: plain words, an example, no torch; former names are answered with the present ones."""

import subprocess
import sys

def test_help_brings_no_torch():
    heavy = ("torch", "numpy", "PIL", "pydantic")
    code = f"import sys; from diptych.cli import app; import diptych; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
