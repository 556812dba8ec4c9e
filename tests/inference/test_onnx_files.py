"""ONNX files that are refused: of other programs, damaged, unsafe, or unlike their description."""

import builtins
import re
from contextlib import suppress

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_files import IMAGE, INVERTED, metadata, write_onnx

import diptych
from diptych.errors import CheckpointError, ConfigError, DiptychError, EvaluationError, ImageError
from diptych.evaluation.runner import open_trained
from diptych.inference import onnx_graph
from diptych.inference.load import networks_of
from diptych.inference.onnx_graph import FIELDS, check_file
from diptych.inference.onnx_metadata import OnnxInput

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
ADDED = (helper.make_node("Add", ["image", "weight"], ["translation"]),)
UNKNOWN = (helper.make_node("Custom", ["image"], ["translation"], domain="com.example"),)
LARGER = (helper.make_node("Concat", ["image", "image"], ["translation"], axis=2),)
NO_NUMBER = (helper.make_node("Log", ["image"], ["translation"]),)
WRONG_SHAPE = (helper.make_node("MatMul", ["image", "weight"], ["translation"]),)
WEIGHT = numpy_helper.from_array(np.zeros((7, 3), np.float32), "weight")
LATENT = OnnxInput(name="latent", dtype="float32", shape=(2,))


def external(path):
    """Return a weight whose values are in another file."""
    weight = onnx.TensorProto(name="weight", data_type=onnx.TensorProto.FLOAT, dims=[1])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=path)
    return weight


def in_attribute(weight):
    """Return the nodes of a network with a weight in the attribute of a node of a subgraph."""
    value = helper.make_tensor_value_info("weight", onnx.TensorProto.FLOAT, [1])
    branch = helper.make_graph([helper.make_node("Constant", [], ["weight"], value=weight)], "branch", [], [value])
    yes = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    either = helper.make_node("If", ["yes"], ["weight"], then_branch=branch, else_branch=branch)
    return (yes, either, *ADDED)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (lambda p: write_onnx(p, None), CheckpointError, "not a model that `diptych export` wrote"),
        (lambda p: p.write_bytes(b""), CheckpointError, "not an ONNX file, or damaged.*expected 1 to"),
        (lambda p: p.write_bytes(b"not a network"), CheckpointError, "not an ONNX file, or damaged.*copy it again"),
        (lambda p: truncated(write_onnx(p, metadata())), CheckpointError, "damaged.*and .* are left"),
        (lambda p: write_onnx(p, "{}"), CheckpointError, "its metadata 'diptych' is damaged"),
        (
            lambda p: write_onnx(p, metadata().model_dump_json().replace('"format":1', '"format":2')),
            CheckpointError, "its metadata has a format that this version of Diptych does not read; update Diptych",
        ),
        (lambda p: write_onnx(p, metadata(channels={"source": 3})), CheckpointError, "of channels for target"),
        (lambda p: write_onnx(p, metadata(inputs=(IMAGE, LATENT))), CheckpointError, "does not describe latent codes"),
        (lambda p: write_onnx(p, metadata(fixed_size=True)), CheckpointError, "it gives no image_size"),
        (
            lambda p: write_onnx(p, metadata(), inputs=(IMAGE, LATENT)),
            CheckpointError, "its inputs and outputs are not those that its metadata describes",
        ),
        (
            lambda p: write_onnx(p, metadata(), ADDED, [external("../../etc/passwd")]),
            CheckpointError, "weights are in another file; only files with all weights inside are read",
        ),
        (
            lambda p: write_onnx(p, metadata(), in_attribute(external("weights.bin"))),
            CheckpointError, "weights are in another file",
        ),
        (
            lambda p: write_onnx(p, metadata(), UNKNOWN),
            CheckpointError, "has operators that onnxruntime does not have, and no libraries are loaded.*Custom",
        ),
        (lambda p: write_onnx(p, metadata(), LARGER), ImageError, r"returns an image of shape \(3, 8, 5\) from"),
        (lambda p: write_onnx(p, metadata(), NO_NUMBER), ImageError, "array: the inverted model returns values.*NaN"),
        (lambda p: write_onnx(p, metadata(), WRONG_SHAPE, [WEIGHT]), ImageError, "array: .*fails on 5x4 pixels"),
        (lambda p: None, CheckpointError, "no such file"),
    ],
)  # fmt: skip
def test_a_file_is_refused_by_one_line_that_names_it(tmp_path, write, error, message):
    write(tmp_path / "model.onnx")
    with pytest.raises(error, match=message) as caught:
        diptych.load(tmp_path / "model.onnx")(PIXELS)
    assert str(tmp_path / "model.onnx") in str(caught.value) or error is ImageError
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("seed", range(20))
def test_damaged_files_are_refused_or_translate(tmp_path, seed):
    """A few bytes are changed: there is an image, or one of Diptych's errors."""
    path = write_onnx(tmp_path / "model.onnx", metadata(), ADDED, [numpy_helper.from_array(np.float32([0]), "weight")])
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    for place in random.integers(0, len(data), 3):
        data[place] = random.integers(0, 256)
    path.write_bytes(data)
    with suppress(DiptychError):
        assert diptych.load(path)(PIXELS).shape == PIXELS.shape


def test_files_of_many_parts_are_refused(tmp_path, monkeypatch):
    """The time that the check takes is bounded."""
    path = write_onnx(tmp_path / "model.onnx", metadata(), INVERTED)
    monkeypatch.setattr(onnx_graph, "LARGEST_COUNT", 10)
    with pytest.raises(CheckpointError, match="it has more than 10 fields"):
        check_file(path)


def test_the_parts_that_are_checked_are_those_of_the_format():
    """Every message that holds tensors, at any depth, is reached."""
    kinds = {"ModelProto": "model", "GraphProto": "graph", "FunctionProto": "function", "NodeProto": "node"}
    kinds |= {"AttributeProto": "attribute", "TensorProto": "tensor", "SparseTensorProto": "sparse tensor"}
    kinds |= {"TrainingInfoProto": "training"}
    for message in kinds.keys() - {"TensorProto"}:
        fields = [each for each in vars(onnx)[message].DESCRIPTOR.fields if each.message_type]
        holding = {each.number: kinds[each.message_type.name] for each in fields if each.message_type.name in kinds}
        followed = FIELDS[kinds[message]].items()
        assert holding == {number: kind for number, kind in followed if kind != "property"}
    location = onnx.TensorProto.DESCRIPTOR.fields_by_name
    assert (location["external_data"].number, location["data_location"].number) == onnx_graph.EXTERNAL


def test_onnxruntime_that_is_missing_is_named(tmp_path, monkeypatch):
    path = write_onnx(tmp_path / "model.onnx", metadata())
    imported = builtins.__import__
    monkeypatch.setattr(
        builtins, "__import__", lambda name, *rest: imported("absent" if name == "onnxruntime" else name, *rest)
    )
    with pytest.raises(CheckpointError, match=re.escape("ONNX files need onnxruntime: pip install 'diptych[onnx]'")):
        diptych.load(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"which": "best"}, "an ONNX file holds one checkpoint and no classes: leave out which"),
        ({"allow_code": ["a.b:C"]}, "leave out which, method and allow_code"),
        ({"device": "tpu"}, "device=tpu: expected auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:1"}, "device=cuda:1: this onnxruntime has no CUDA: pip install onnxruntime-gpu"),
    ],
)
def test_options_without_a_meaning_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        diptych.load(write_onnx(tmp_path / "model.onnx", metadata()), **options)


@pytest.mark.parametrize(("setting", "threads"), [("1", 1), ("999", 2), ("", 2), ("0", 2), ("many", 2)])
def test_threads_are_those_of_pytorch(monkeypatch, setting, threads):
    monkeypatch.setattr(onnx_graph, "cores", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    assert onnx_graph._threads() == threads


def test_commands_that_need_networks_say_what_to_give(tmp_path):
    path = write_onnx(tmp_path / "model.onnx", metadata())
    for use in (networks_of, open_trained):
        with pytest.raises(
            (CheckpointError, EvaluationError), match="give the run or model folder that it was exported"
        ):
            use(path)
