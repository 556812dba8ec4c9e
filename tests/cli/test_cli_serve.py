"""`diptych serve` refuses what it cannot serve, before it listens."""

import socket
import sys

import pytest
from commands import diptych
from onnx_files import metadata, write_onnx

from diptych.errors import CheckpointError, ConfigError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "0.0.0.0"], "anyone who reaches this address could use the server; give --token as well"),
        (["--host", "192.0.2.7", "--token", "x"], "cannot listen there .*choose another --port"),
    ],
)
def test_addresses_that_are_unsafe_or_of_others_are_refused(tmp_path, words, message):
    with pytest.raises(ConfigError, match=message):
        diptych("serve", write_onnx(tmp_path / "model.onnx", metadata()), "--port", 0, *words)


def test_a_port_that_is_taken_is_an_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="choose another --port"):
        diptych("serve", write_onnx(tmp_path / "m.onnx", metadata()), "--port", taken.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.onnx"], "missing.onnx: no such file"),
        (["model.onnx", "--examples", "missing"], "--examples missing: expected a folder with images"),
        (["model.onnx", "other.onnx"], "other.onnx: .*no metadata"),
    ],
)
def test_models_that_cannot_be_loaded_are_an_error(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    write_onnx(tmp_path / "model.onnx", metadata())
    write_onnx(tmp_path / "other.onnx", None)
    with pytest.raises(CheckpointError, match=message):
        diptych("serve", *words, "--port", 0)


def test_the_extra_is_named_if_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for name in [name for name in sys.modules if name.startswith(("diptych.serving", "diptych.web"))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=r"pip install 'diptych\[serve\]'"):
        diptych("serve", "model.onnx")
