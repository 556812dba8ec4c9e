"""C7: what every released Diptych has written is still read, and still translates to the same picture."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import diptych

from diptych.data.images import image_io
from diptych.runs import checkpoint
from diptych.runs.events import read_events
from diptych.workflows.train import resume

VERSIONS = sorted(path for path in (Path(__file__).parent / "formats").iterdir() if path.is_dir())


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def old(request, tmp_path):
    """A copy, as a resumed run is written to."""
    return Path(shutil.copytree(request.param, tmp_path / request.param.name))


@pytest.mark.parametrize("source", ["run", "model"])
def test_an_old_run_and_an_old_model_draw_the_same_picture(source, old, tmp_path):
    """C7: within one level of 255, as kernels of other processors and of later torches round otherwise."""
    words = ["translate", old / source, old / "before.png", "-o", tmp_path / "made", "--device", "cpu"]
    assert diptych(*words).exit_code == 0
    expected = image_io.read(old / "after.png").astype(int)
    assert np.ptp(expected) > 10, "a flat picture would prove little"
    np.testing.assert_allclose(image_io.read(tmp_path / "made" / "before.png").astype(int), expected, atol=1)


def test_an_old_run_goes_on_where_it_was(old):
    """C7: weights, Adam, the clock and the open line of the log; its next numbers are those it had then."""
    assert checkpoint.load_newest(old / "run" / "checkpoints")[1]["step"] == 4
    resume(old / "run", allow=("code", "torch", "diptych"))
    assert checkpoint.load_newest(old / "run" / "checkpoints")[1]["step"] == 6
    line = next(event for event in read_events(old / "run" / "events.jsonl") if event["event"] == "step")
    assert line["terms"] == pytest.approx(json.loads((old / "numbers.json").read_text()), rel=1e-2)
