"""Evaluator networks from elsewhere: their files, input, classes and errors, and scores by them."""

import builtins
import json
import os
import pickle
import zipfile

import onnx
import pytest
import torch
import torch.nn.functional as F
import yaml
from judged import COLOURS, fill, label_map, photograph
from safetensors.torch import save_file
from torch import nn

import diptych
from diptych.errors import EvaluationError, ImportRefused
from diptych.evaluation.external_evaluator import load_external
from diptych.evaluation.network_file import read_network_file
from diptych.evaluation.tools import load_tools
from diptych.importers import pretrained
from diptych.importers.exported_program import load_exported

CPU = torch.device("cpu")
AUTO = torch.export.Dim.AUTO
LABELS = [{"colour": colour} for colour in COLOURS.tolist()]
NAMED = [{"name": name} for name in ("cat", "dog", "wild", "fox")]


class Small(nn.Module):
    """Convolution, BatchNorm, pooling, sizes, a branch and an upsampling: what published networks are made of."""

    def __init__(self, segments=True):
        super().__init__()
        self.stem, self.norm, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(16, 4, 1)
        self.segments = segments
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x):
        half, other = F.max_pool2d(F.relu(self.norm(self.stem(x)), inplace=True), 2).chunk(2, 1)
        y = self.head(torch.cat([half, other, half * other, half.mean((2, 3), keepdim=True).expand_as(half)], 1))
        if not self.segments:
            return y.mean((2, 3))
        return {"out": F.interpolate(y, size=x.shape[-2:], mode="bilinear"), "aux": y}


def exported(path, network, sizes=(AUTO, None, AUTO, AUTO)):
    dynamic = ({axis: size for axis, size in enumerate(sizes) if size is not None},)
    program = torch.export.export(network.eval(), (torch.zeros(2, 3, 16, 16),), dynamic_shapes=dynamic)
    torch.export.save(program, path)
    return network


def described(path, **content):
    path.write_text(yaml.safe_dump(json.loads(json.dumps(content))))
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("networks")
    return exported(folder / "net.pt2", Small()), folder / "net.pt2"


@pytest.fixture
def images():
    return torch.rand(3, 3, 24, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


# ------------------------------------------------------------------------------------------- files of torch.export


def test_an_exported_network_gives_the_outputs_of_its_module(network, images):
    module, file = network
    with torch.no_grad():
        expected = module(images)
    for output, wanted in zip(load_exported(file)(images), expected.values(), strict=True):
        torch.testing.assert_close(output, wanted, rtol=0, atol=0)


class Command:
    def __reduce__(self):
        return os.system, ("touch executed",)


def changed(source, target, change):
    """Write the archive again; `change` maps the name and content of each entry."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name.partition("/")[2], old.read(name)))
    return target


def replaced(entry, old, new):
    return lambda name, data: data.replace(old, new) if name == entry else data


GRAPH, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced(WEIGHTS, b'"use_pickle": false', b'"use_pickle": true'), "is pickled, and pickles can run code"),
        (replaced(GRAPH, b"torch.ops.aten.relu_", b"torch.ops.aten.from_file"), "'torch.ops.aten.from_file.default'"),
        (replaced(GRAPH, b"torch.ops.aten.conv2d.default", b"os.system"), "operator 'os.system' is not supported"),
        (replaced(GRAPH, b"aten.relu_.default", b"aten.relu_.__class__"), "operator 'torch.ops.aten.relu_.__class__'"),
        (replaced(GRAPH, b'"user_input"', b'"token"'), "input of kind 'token' is not supported"),
        (replaced(WEIGHTS, b'{"as_int": 8}', b'{"as_int": 99}'), "not a network written by torch.export.save"),
        (lambda name, data: data[:100], "not a network written by torch.export.save"),
    ],
)
def test_files_that_ask_for_more_than_tensors_are_refused(network, tmp_path, change, message):
    with pytest.raises(ImportRefused, match=message):
        load_exported(changed(network[1], tmp_path / "bad.pt2", change))


def test_nothing_in_a_file_is_run(network, tmp_path, images, monkeypatch):
    """Example inputs that are a pickle, and expressions of sizes that call a function, are ignored."""
    monkeypatch.chdir(tmp_path)
    call = b"__import__('os').system('touch executed')"

    def change(name, data):
        if name == "data/sample_inputs/model.pt":
            return pickle.dumps(Command())
        return data.replace(b"positive=True", call + b" or True") if name == GRAPH else data

    hostile = changed(network[1], tmp_path / "hostile.pt2", change)
    assert len(load_exported(hostile)(images)) == 2
    assert not (tmp_path / "executed").exists()


def test_sizes_that_were_not_exported_are_refused(tmp_path, images):
    exported(tmp_path / "fixed.pt2", Small(), (None, None, None, None))
    path = described(tmp_path / "fixed.yaml", file="fixed.pt2", task="segmentation", classes=LABELS)
    with pytest.raises(EvaluationError, match=r"3x3x24x16 \(the network was exported for inputs of 2x3x16x16"):
        load_external(path, CPU).method.logits(images)
    fitting = {"size": [16, 16], "batch_size": 2}
    described(path, file="fixed.pt2", task="segmentation", classes=LABELS, input=fitting)
    assert load_external(tmp_path / "fixed.pt2", CPU).method.logits(images).shape == (3, 4, 24, 16)


# ----------------------------------------------------------------------------------------------- input and classes


def test_input_and_classes_are_those_of_the_description(network, images):
    module, file = network
    settings = {"order": "bgr", "range": [0, 255], "mean": [104.0, 117.0, 123.0], "std": [2.0]}
    classes = [{**LABELS[0], "outputs": [3]}, {**LABELS[1], "outputs": [0, 2]}]
    path = described(file.with_suffix(".yaml"), file=file.name, task="segmentation", input=settings, classes=classes)
    with torch.no_grad():
        pixels = (images.flip(1) + 1) * 127.5
        outputs = module((pixels - torch.tensor([104.0, 117.0, 123.0])[:, None, None]) / 2)["out"]
    evaluator = load_external(path, CPU).method
    expected = torch.stack([outputs[:, 3], torch.logaddexp(outputs[:, 0], outputs[:, 2])], 1)
    torch.testing.assert_close(evaluator.logits(images), expected, rtol=1e-4, atol=1e-3)
    assert evaluator.classes() == ("#000000", "#ff0000")
    torch.testing.assert_close(load_external(file, CPU).method.logits(images), evaluator.logits(images))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": LABELS[:2]}, r"has 4 outputs, and 2 classes are listed: give each class its `outputs`"),
        ({"classes": [{**LABELS[0], "outputs": [7]}, {**LABELS[1], "outputs": [0]}]}, "there is no output 7"),
        ({"output": 5}, "has 2 outputs, and none of number 5"),
        ({"task": "classification", "classes": NAMED}, r"expected logits \(N, K\) of 3 images"),
    ],
)
def test_outputs_that_do_not_fit_are_explained(network, tmp_path, images, change, message):
    content = {"file": str(network[1]), "task": "segmentation", "classes": LABELS, **change}
    with pytest.raises(EvaluationError, match=message):
        load_external(described(tmp_path / "x.yaml", **content), CPU).method.logits(images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clases": []}, "clases"),
        ({"classes": NAMED}, "a class of a segmentation network has a colour and no name"),
        ({"classes": [LABELS[0], LABELS[0]]}, "two classes are .#000000"),
        ({"classes": [{**LABELS[0], "outputs": [0]}, LABELS[1]]}, "either all classes have outputs, or none"),
        ({"classes": [{**each, "outputs": [0]} for each in LABELS]}, "output 0 belongs to two classes"),
        ({"input": {"mean": [1.0, 2.0]}}, "mean: give one value, or one for each of 3 channels"),
        ({"input": {"std": [0.0]}}, "std"),
        ({"input": {"size": [8, 8], "size_multiple": 2}}, "size and size_multiple: give one of them"),
        ({"ignore": [[0, 0, 0]]}, "#000000 is in the palette and ignored"),
        ({"num_outputs": 5}, "num_outputs: only a torchvision model"),
        ({"file": "absent.onnx"}, "absent.onnx: no such file"),
        ({"file": "x.yaml"}, r"x.yaml: expected a network \(.onnx or .pt2\)"),
    ],
)
def test_mistakes_in_a_description_are_named(network, tmp_path, change, message):
    content = {"file": str(network[1]), "task": "segmentation", "classes": LABELS, **change}
    with pytest.raises(EvaluationError, match=message):
        read_network_file(described(tmp_path / "x.yaml", **content))


def test_a_network_without_a_description_is_explained(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(EvaluationError, match=r"net.yaml: no such file; it describes the input and the classes"):
        read_network_file(tmp_path / "net.onnx")


# ------------------------------------------------------------------------------------------- ONNX and torchvision


def onnx_file(path, weight):
    """Write a network whose logits are a 1x1 convolution of its input."""
    sizes = ["n", 3, "h", "w"]
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "weight"], ["logits"])],
        "net",
        [tensor("x", onnx.TensorProto.FLOAT, sizes)],
        [tensor("logits", onnx.TensorProto.FLOAT, ["n", 4, "h", "w"])],
        [onnx.numpy_helper.from_array(weight.numpy(), "weight")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def test_onnx_files_are_run_by_onnxruntime(tmp_path, images, monkeypatch):
    weight = torch.randn(4, 3, 1, 1, generator=torch.Generator().manual_seed(2))
    onnx_file(tmp_path / "net.onnx", weight)
    described(tmp_path / "net.yaml", file="net.onnx", task="segmentation", classes=LABELS, input={"range": [-1, 1]})
    torch.testing.assert_close(
        load_external(tmp_path / "net.yaml", CPU).method.logits(images), F.conv2d(images, weight)
    )
    (tmp_path / "net.onnx").write_bytes(b"not a network")
    with pytest.raises(ImportRefused, match=r"net.onnx: not a network that onnxruntime reads"):
        load_external(tmp_path / "net.yaml", CPU)
    imported = builtins.__import__
    monkeypatch.setattr(
        builtins, "__import__", lambda name, *rest: imported("absent_" + name if "onnx" in name else name, *rest)
    )
    with pytest.raises(EvaluationError, match=r"pip install 'diptych\[onnx\]'"):
        load_external(tmp_path / "net.yaml", CPU)


@pytest.mark.parametrize(
    ("name", "task", "classes"),
    [("squeezenet1_1", "classification", NAMED), ("lraspp_mobilenet_v3_large", "segmentation", LABELS)],
)
def test_torchvision_models_take_the_weights_of_the_user(tmp_path, images, name, task, classes):
    options = {"weights_backbone": None} if task == "segmentation" else {}
    torch.manual_seed(0)
    model = pretrained.models().get_model(name, weights=None, num_classes=4, **options).eval()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    content = {"file": "weights.safetensors", "task": task, "torchvision": name, "classes": classes, "num_outputs": 4}
    path = described(tmp_path / "net.yaml", **content, input={"size": [64, 64]})
    evaluator = load_external(path, CPU).method
    with torch.no_grad():
        outputs = model(evaluator.prepare(images))
    expected = outputs if task == "classification" else F.interpolate(outputs["out"], (24, 16), mode="bilinear")
    torch.testing.assert_close(evaluator.logits(images), expected, rtol=1e-4, atol=1e-5)
    described(path, **{**content, "torchvision": name + "x"})
    with pytest.raises(EvaluationError, match=rf"torchvision: '{name}x'.*it has no {task} model"):
        load_external(path, CPU)
    described(path, **{**content, "num_outputs": 5})
    with pytest.raises(EvaluationError, match="not the weights of this network"):
        load_external(path, CPU)


# --------------------------------------------------------------------------------------------------------- scores


def test_the_fcn_score_of_folders_by_a_network_from_elsewhere(tmp_path):
    """A network that knows the colour of each class labels real photographs better than noise; its files are named."""
    for folder, make, start in (("maps", label_map, 0), ("real", photograph, 0), ("fake", photograph, 70)):
        fill(tmp_path / folder, 6, start, make=make)
    looks = torch.tensor([[60, 60, 20], [200, 60, 120], [60, 200, 60], [200, 200, 220]]) / 127.5 - 1

    class Nearest(nn.Module):
        def forward(self, x):
            return torch.cat([-(x - look[None, :, None, None]).square().sum(1, keepdim=True) for look in looks], 1)

    exported(tmp_path / "net.pt2", Nearest())
    path = described(
        tmp_path / "net.yaml", file="net.pt2", task="segmentation", classes=LABELS, input={"range": [-1, 1]}
    )
    result = diptych.evaluate(
        real=tmp_path / "real",
        fake=tmp_path / "fake",
        sources=tmp_path / "maps",
        protocol="pix2pix-fcn",
        evaluator=path,
        extractor="none",
        device="cpu",
    )
    score = result.score("pixel-accuracy")
    assert score.ceiling > 0.9
    assert score.value < 0.5
    digest = result.tools["evaluator"]
    assert digest.startswith("net ")
    path.write_text(path.read_text() + "ignore: [[9, 9, 9]]\n")
    tools = load_tools("none", path, device="cpu")
    assert tools.require_evaluator().ignored_classes() == ("#090909",)
    assert tools.used["evaluator"] != digest, "the description is part of the digest"
