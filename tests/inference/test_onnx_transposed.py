"""Transposed convolutions as convolutions: equal outputs on odd sizes, and phases at their places."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from diptych.inference import onnx_transposed
from diptych.inference.onnx_transposed import replace_transposed_convolutions

KINDS = {  # kernel, stride, pads, output_padding; the first two are those of U-Net and ResNet generators
    "4 by 2": ((4, 4), (2, 2), (1, 1, 1, 1), (0, 0)),
    "3 by 2": ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
    "uneven": ((5, 2), (3, 3), (2, 0, 1, 0), (0, 1)),
    "smaller than the stride": ((1, 1), (2, 2), (0, 0, 0, 0), (0, 0)),
}
STAYS = {
    "grouped": ((3, 3), {"group": 2}),
    "dilated": ((3, 3), {"dilations": [2, 2]}),
    "two strides": ((3, 3), {"strides": [2, 1]}),
    "output beyond the phases": ((2, 2), {"output_padding": [1, 0]}),
}


def transposed(kernel, strides=(2, 2), pads=(0, 0, 0, 0), output_padding=(0, 0), group=1, **attributes):
    """A model of one ConvTranspose with random weights."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((6, 4, *kernel), np.float32)
    values = {"weight": weight, "bias": random.standard_normal(4 * group, np.float32)}
    node = helper.make_node(
        "ConvTranspose",
        ["x", "weight", "bias"],
        ["y"],
        strides=strides,
        pads=pads,
        output_padding=output_padding,
        group=group,
        kernel_shape=kernel,
        **attributes,
    )
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", None, "h", "w"]) for name in "xy")
    tensors = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph([node], "transposed", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def outputs(model):
    """The outputs for images of odd and of smallest sizes."""
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(1)
    sizes = ((1, 1, 1), (2, 7, 5), (1, 2, 9))
    return [session.run(None, {"x": random.standard_normal((n, 6, h, w), np.float32)})[0] for n, h, w in sizes]


def largest_difference(expected, found):
    assert [each.shape for each in expected] == [each.shape for each in found]
    return max(np.abs(a - b).max() for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_equal(kind):
    model = transposed(*KINDS[kind])
    expected = outputs(model)
    replace_transposed_convolutions(model)
    assert [node.op_type for node in model.graph.node] == ["Conv", "DepthToSpace", "Slice"]
    assert not {"weight", "bias"} & {tensor.name for tensor in model.graph.initializer}, "weights are stored once"
    assert largest_difference(expected, outputs(model)) < 1e-5


def test_a_misplaced_phase_is_noticed(monkeypatch):
    model, phases = transposed(*KINDS["4 by 2"]), onnx_transposed.phases
    expected = outputs(model)
    monkeypatch.setattr(onnx_transposed, "phases", lambda *args: phases(*args)[[1, 0, *range(2, 16)]])
    replace_transposed_convolutions(model)
    assert largest_difference(expected, outputs(model)) > 0.1


@pytest.mark.parametrize("kind", STAYS)
def test_others_stay(kind):
    kernel, options = STAYS[kind]
    model = transposed(kernel, **options)
    before = model.SerializeToString()
    replace_transposed_convolutions(model)
    assert model.SerializeToString() == before
