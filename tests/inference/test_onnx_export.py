"""Exported models: their outputs equal PyTorch's for every method, and what they say about themselves is true."""

import onnx
import onnxruntime
import pytest
import torch

from diptych.inference import onnx_precision
from diptych.inference.onnx_export import export_onnx
from diptych.inference.onnx_metadata import PROPERTY, parse_metadata
from diptych.methods import METHODS
from diptych.system.hashes import sha256_of
from tests.helpers.translators import made

SMALL = {
    "cyclegan": {"generator": "resnet_1"},
    "cut": {"n_blocks": 1},
    "diat": {"n_blocks": 1},
    "stargan": {"n_blocks": 1},
    "srgan": {"n_blocks": 1},
}


def metadata_of(path):
    properties = {each.key: each.value for each in onnx.load(path, load_external_data=False).metadata_props}
    return parse_metadata(properties[PROPERTY], str(path))


def run(path, **inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_exported(name, tmp_path):
    """`export_onnx` itself compares five sizes and two batch sizes with PyTorch."""
    translator = made(name, **SMALL.get(name, {}))
    exported = export_onnx(translator, tmp_path / "model.onnx", name="letters")
    assert exported.max_difference <= onnx_precision.TOLERANCE
    metadata = metadata_of(exported.files[0])
    assert sorted(tmp_path.iterdir()) == sorted(exported.files), "nothing else is left"
    assert (metadata.method, metadata.name, metadata.precision) == (name, "letters", "fp32")
    assert {control.name for control in metadata.controls} | set(metadata.fixed) == {
        control.name for control in translator.controls
    }
    assert [companion.role for companion in metadata.companions] == list(translator.method.companions)
    for companion in metadata.companions:
        assert sha256_of(tmp_path / companion.file) == companion.sha256
    if not translator.method.routes:
        latent = torch.rand(3, metadata.latent.dim)
        assert torch.allclose(run(exported.files[0], latent=latent), translator.method(latent), atol=1e-4)
