"""Every method is exported, its file describes it, and folder and file write the same images."""

import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from commands import diptych, files
from onnx_files import metadata_of
from translators import made

from diptych.data.images import image_io
from diptych.methods import METHODS
from diptych.system.hashes import sha256_of

SMALL = {
    "cut": {"n_blocks": 1}, "diat": {"n_blocks": 1}, "stargan": {"n_blocks": 1},
    "srgan": {"n_blocks": 1},
}  # fmt: skip
EXPORTED = {"cyclegan": ("-c", "direction=b2a"), "munit": ("-c", "direction=b2a"), "drit": ("-c", "direction=b2a")}
OPTIONS = {  # of the translation, besides those that were exported
    "msgan": ("--seed", "3"),
    "munit": ("--reference", "REFERENCE"),
    "drit": ("--seed", "2", "-c", "toward=5", "-c", "mix=0.3"),
    "starganv2": ("--reference", "REFERENCE"),
    "pix2pix": ("--depth", "16"),
    "cut": ("--suffix", ".tif"),
}
LEVELS = {"uint8": 1, "uint16": 257}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("gan", "msgan") else pytest.mark.slow) for name in METHODS]
)
def test_the_file_writes_what_the_folder_writes(name, tmp_path):
    """Within one level of 8 bits, under the same names. The export itself compares tensors of several sizes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what an untrained network lacks
        _export_and_compare(name, tmp_path)


def _export_and_compare(name, tmp_path):
    translator, exported = made(name, **SMALL.get(name, {})), EXPORTED.get(name, ())
    translator.save(tmp_path / "model")
    diptych("export", tmp_path / "model", "-o", tmp_path / "model.onnx", *exported)
    _check_description(translator, name, tmp_path / "model.onnx")
    random = np.random.default_rng(0)
    for file, shape in (("a.png", (21, 34, 3)), ("deep/b.png", (40, 17, 1)), ("reference.png", (50, 40, 3))):
        image_io.write(tmp_path / "in" / file, random.integers(0, 256, shape, np.uint8))
    options = [tmp_path / "in/reference.png" if each == "REFERENCE" else each for each in OPTIONS.get(name, ())]
    translates = bool(translator.method.routes)
    for model in ("model", "model.onnx"):
        given = [tmp_path / model, "-o", tmp_path / f"out-{model}", *exported, "--device", "cpu"]
        if translates:
            diptych("translate", given[0], tmp_path / "in", *given[1:], *options)
        if translator.method.traits.unconditional:
            diptych("generate", given[0], "-o", tmp_path / f"out-{model}/made", "-n", "3", "--seed", "4")
    expected, found = files(tmp_path / "out-model"), files(tmp_path / "out-model.onnx")
    assert expected == found
    assert len(found) == 3 * (translates + translator.method.traits.unconditional)
    for file in found:
        a, b = (image_io.read(tmp_path / out / file) for out in ("out-model", "out-model.onnx"))
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.abs(a.astype(int) - b).max() <= LEVELS[a.dtype.name], file
        assert a.std() > 0, "an image of one colour shows nothing"


def _check_description(translator, name, path):
    """The metadata names the method, its controls and its companions; a generator takes any number of latent codes."""
    metadata = metadata_of(path)
    companions = {companion.role: path.parent / companion.file for companion in metadata.companions}
    assert {*path.parent.iterdir()} == {path.parent / "model", path, *companions.values()}, "nothing else is left"
    assert (metadata.method, metadata.name, metadata.precision) == (name, "model", "fp32")
    names = {control.name for control in translator.controls}
    assert set(metadata.fixed) == names & {"direction", "inference"} | ({"seed"} if name == "pix2pix" else set())
    assert {control.name for control in metadata.controls} == names - set(metadata.fixed)
    assert list(companions) == list(translator.method.companions)
    for companion in metadata.companions:
        assert sha256_of(path.parent / companion.file) == companion.sha256
    if not translator.method.routes:
        latent = torch.rand(3, metadata.latent.dim)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (images,) = session.run(None, {"latent": latent.numpy()})
        assert torch.allclose(torch.from_numpy(images), translator.method(latent), atol=1e-4)
