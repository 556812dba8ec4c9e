"""The description of an exported model: read without torch, and refused where it is damaged."""

import subprocess
import sys

import pytest

from diptych.errors import CheckpointError
from diptych.inference.onnx_metadata import LARGEST, OnnxInput, OnnxMetadata, parse_metadata

WHOLE = OnnxMetadata(
    method="pix2pix", name="facades", sha256="0" * 64, precision="fp32", size_multiple=256,
    channels={"source": 3, "target": 3}, routes=(), inputs=(OnnxInput(name="image", dtype="float32", shape=(3, 0, 0)),),
)  # fmt: skip


def test_description_is_read_without_torch():
    code = (
        "import sys, diptych.inference.onnx_metadata; print([m for m in ('torch', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_description_round_trips():
    assert parse_metadata(WHOLE.model_dump_json(), "model.onnx") == WHOLE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "model.onnx: not a model that `diptych export` wrote"),
        ("{", "model.onnx: .*JSON: Invalid JSON.*export the model again"),
        (WHOLE.model_dump_json().replace('"format":1', '"format":2'), "does not read; update Diptych"),
        (WHOLE.model_dump_json().replace('"fp32"', '"fp7"'), "precision"),
        (" " * (LARGEST + 1), "characters, at most"),
    ],
)
def test_damaged_description_is_refused(text, message):
    with pytest.raises(CheckpointError, match=message):
        parse_metadata(text, "model.onnx")
