"""What the tests of imports share."""

import pytest

from diptych.importers import import_model
from diptych.importers.sandbox import read_in_process


@pytest.fixture
def read_here(monkeypatch):
    """Files are read in this process; `tests/attacks` and the published SRGAN are read by the one for foreign files."""
    monkeypatch.setattr(import_model, "read", read_in_process)
