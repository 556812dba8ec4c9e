"""Quantised files: transposed convolutions too, and float32 for the layer whose quantisation costs most."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from diptych.inference.onnx_int8 import Layer, Quantised, _candidates, quantise
from diptych.inference.onnx_precision import measure_psnr


@pytest.fixture
def source(tmp_path):
    """The file of a convolution and a transposed one."""
    random = np.random.default_rng(0)
    shapes = {"first": (8, 3, 3, 3), "first_bias": (8,), "second": (8, 8, 4, 4), "second_bias": (8,)}
    tensors = [
        numpy_helper.from_array(random.standard_normal(shape, np.float32) / 8, name) for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["image", "first", "first_bias"], ["a"], "one", pads=[1] * 4),
        helper.make_node("Tanh", ["a"], ["b"], "tanh"),
        helper.make_node("ConvTranspose", ["b", "second", "second_bias"], ["c"], "two", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Tanh", ["c"], ["output"], "out"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 8, "h2", "w2"])
    graph = helper.make_graph(nodes, "network", [image], [output], tensors)
    onnx.save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "full.onnx"
    )
    return tmp_path / "full.onnx"


def images(outlier=1.0):
    random = np.random.default_rng(1)
    arrays = [random.uniform(-1, 1, (1, 3, 16, 17)).astype(np.float32) for _ in range(3)]
    arrays[0][0, 0, 0, 0] = outlier
    return [{"image": array} for array in arrays]


def weights_of_8_bits(path):
    tensors = onnx.load_model(path).graph.initializer
    return {
        each.name.removesuffix("_quantized") for each in tensors if each.data_type == TensorProto.INT8 and each.dims
    }


def test_all_layers_are_quantised(source, tmp_path):
    inputs = images()
    assert quantise(source, tmp_path / "small.onnx", inputs) == Quantised(2, ())
    assert {"first", "two/weight"} <= weights_of_8_bits(tmp_path / "small.onnx")
    assert not any(node.op_type == "ConvTranspose" for node in onnx.load_model(tmp_path / "small.onnx").graph.node)
    assert measure_psnr(source, tmp_path / "small.onnx", inputs) > 35
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full.onnx", "small.onnx"]


def test_the_layer_that_costs_most_stays(source, tmp_path):
    """An outlier takes the range of the first layer's 8 bits."""
    inputs = images(outlier=1000.0)
    assert quantise(source, tmp_path / "small.onnx", inputs) == Quantised(2, ("first",))
    assert "two/weight" in weights_of_8_bits(tmp_path / "small.onnx")
    assert "first" not in weights_of_8_bits(tmp_path / "small.onnx")
    assert measure_psnr(source, tmp_path / "small.onnx", inputs) > 35


def test_layers_stay_by_their_error_for_a_quarter_of_the_multiplications():
    errors = {Layer("a", "a", 10): 3.0, Layer("b", "b", 60): 9.0, Layer("c", "c", 12): 4.0, Layer("d", "d", 18): 0.1}
    assert [layer.node for layer in _candidates(errors)] == ["c", "a"]
