"""Exported models: digests, errors, and what cannot be exported; `test_onnx_parity` exports every method."""

import json
import sys

import pytest
from onnx_files import metadata_of
from translators import made

from diptych.errors import ConfigError
from diptych.inference import onnx_precision
from diptych.inference.onnx_export import export_onnx


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
