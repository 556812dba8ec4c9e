"""Exported models: their outputs equal PyTorch's for every method, and what they say about themselves is true."""

import json
import sys

import onnx
import onnxruntime
import pytest
import torch
from translators import made

from diptych.errors import ConfigError
from diptych.inference import onnx_precision
from diptych.inference.onnx_export import export_onnx
from diptych.inference.onnx_metadata import PROPERTY, parse_metadata
from diptych.methods import METHODS
from diptych.system.hashes import sha256_of

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


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("gan", "msgan") else pytest.mark.slow) for name in METHODS]
)
def test_every_method_is_exported(name, tmp_path):
    """`export_onnx` itself compares five sizes and two batch sizes with PyTorch."""
    translator = made(name, **SMALL.get(name, {}))
    exported = export_onnx(translator, tmp_path / "model.onnx", name="letters")
    assert exported.max_difference <= onnx_precision.TOLERANCE
    metadata = metadata_of(exported.files[0])
    assert sorted(tmp_path.iterdir()) == sorted(exported.files), "nothing else is left"
    assert (metadata.method, metadata.name, metadata.precision) == (name, "letters", "fp32")
    names = {control.name for control in translator.controls}
    assert set(metadata.fixed) == names & {"direction", "inference"} | ({"seed"} if name == "pix2pix" else set())
    assert {control.name for control in metadata.controls} == names - set(metadata.fixed)
    assert [companion.role for companion in metadata.companions] == list(translator.method.companions)
    for companion in metadata.companions:
        assert sha256_of(tmp_path / companion.file) == companion.sha256
    if not translator.method.routes:
        latent = torch.rand(3, metadata.latent.dim)
        assert torch.allclose(run(exported.files[0], latent=latent), translator.method(latent), atol=1e-4)


def test_digest_of_weights_is_that_of_a_model_folder(tmp_path):
    translator = made("gan")
    translator.export_onnx(tmp_path / "model.onnx")
    config = json.loads((translator.save(tmp_path / "folder") / "config.json").read_text())
    assert metadata_of(tmp_path / "model.onnx").sha256 == config["sha256"]


def test_difference_from_pytorch_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_precision, "TOLERANCE", -1.0)
    with pytest.raises(ConfigError, match=r"GAN.forward: onnxruntime differs from PyTorch by .* on inputs of shape"):
        export_onnx(made("gan"), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gan", {"path": "model.pt"}, "expected a file name that ends in .onnx"),
        ("pix2pix", {"controls": {"inference": "papers"}}, "inference='papers': choose one of"),
        ("msgan", {"controls": {"seed": 3}}, "seed stays a control of the exported model: give it when you translate"),
        ("gan", {"precision": "int8"}, "int8 needs calibrate=FOLDER"),
    ],
)
def test_what_cannot_be_exported_is_refused(name, options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        export_onnx(made(name), tmp_path / options.pop("path", "model.onnx"), **options)
    assert not list(tmp_path.iterdir())


def test_missing_extra_names_the_install_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"pip install 'diptych\[onnx\]'"):
        export_onnx(made("gan"), tmp_path / "model.onnx")
