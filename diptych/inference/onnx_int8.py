"""Conversion of an ONNX file to 8-bit integers; layers whose quantisation costs most stay in float32.

Activations have 8 bits, within their range on example images. Weights have a scale for each channel and 7 bits, as
onnxruntime advises for processors without VNNI: these add two products of 8 bits in 16 bits, with saturation.
"""

import copy
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.inference.onnx_precision import Inputs, decibels, session
from diptych.inference.onnx_transposed import replace_transposed_convolutions

if TYPE_CHECKING:
    import onnx

TYPES = ("Conv", "MatMul", "Gemm")  # of nodes that are quantised
TARGET = 35.0  # decibels of PSNR to float32
LARGEST_SHARE = 0.25  # of the multiplications, in layers that stay in float32
PROBES = 2  # inputs on which layers are compared


@dataclass(frozen=True)
class Layer:
    """A node that can be quantised, the name of its weights, and its number of multiplications on an input."""

    node: str
    weight: str
    multiplications: int


@dataclass(frozen=True)
class Quantised:
    """What a conversion did: the number of layers, and the weights of those that stay in float32."""

    layers: int
    kept: tuple[str, ...]


def quantise(source: Path, target: Path, inputs: Sequence[Inputs]) -> Quantised:
    """Write a file of float32 as 8-bit integers, calibrated on inputs, and return which layers stay in float32.

    Layers stay until the PSNR to the source is `TARGET`, and at most `LARGEST_SHARE` of the multiplications: first
    those with the largest error for their multiplications when they alone are quantised.
    """
    import onnx

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}-") as folder:
        quantiser = _Quantiser(source, Path(folder), inputs)
        layers, kept = quantiser.layers, list[Layer]()
        model = quantiser.quantised(layers)
        error = quantiser.error(model)
        if decibels(error) < TARGET:
            errors = {layer: quantiser.error(quantiser.quantised([layer])) for layer in layers}
            candidates = _candidates(errors)
            while candidates and decibels(error) < TARGET:
                count = _enough(errors, kept, candidates, error)
                kept += candidates[:count]
                del candidates[:count]
                model = quantiser.quantised([layer for layer in layers if layer not in kept])
                error = quantiser.error(model)
    onnx.save_model(model, target)
    return Quantised(len(layers), tuple(layer.weight for layer in kept))


def _candidates(errors: Mapping[Layer, float]) -> list[Layer]:
    """Return the layers that may stay in float32, in this order."""
    left = LARGEST_SHARE * sum(layer.multiplications for layer in errors)
    found = []
    for layer in sorted(errors, key=lambda layer: -errors[layer] / layer.multiplications):
        if layer.multiplications <= left:
            left -= layer.multiplications
            found.append(layer)
    return found


def _enough(errors: Mapping[Layer, float], kept: Sequence[Layer], candidates: Sequence[Layer], error: float) -> int:
    """Return how many more candidates to keep, by estimate: as if the errors of layers added up."""
    left = sum(value for layer, value in errors.items() if layer not in kept)
    scale = error / max(left, 1e-30)
    for count, layer in enumerate(candidates, 1):
        left -= errors[layer]
        if decibels(scale * max(left, 0.0)) >= TARGET:
            return count
    return len(candidates)


class _Quantiser:
    """Quantises chosen layers of a file, and measures the error on a few inputs. `folder` is for temporary files."""

    def __init__(self, source: Path, folder: Path, inputs: Sequence[Inputs]) -> None:
        import onnx
        from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self.probes = inputs[:: -(-len(inputs) // PROBES)]
        run = session(source)
        self.expected = [run(probe)[0] for probe in self.probes]
        model = onnx.load_model(source)
        replace_transposed_convolutions(model)
        onnx.save_model(model, folder / "replaced.onnx")
        prepared = folder / "prepared.onnx"
        quant_pre_process(folder / "replaced.onnx", prepared, skip_symbolic_shape=True)
        self.model: onnx.ModelProto = load_model_with_shape_infer(prepared)
        self.ranges = _ranges(prepared, folder, inputs)
        self.layers = _layers(self.model, self.probes[0])

    def quantised(self, layers: Sequence[Layer]) -> "onnx.ModelProto":
        """Return the model with these layers quantised."""
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        quantiser = QDQQuantizer(
            copy.deepcopy(self.model),
            per_channel=True,
            reduce_range=True,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self.ranges,
            nodes_to_quantize=[layer.node for layer in layers],
            nodes_to_exclude=[],
            op_types_to_quantize=list(TYPES),
            extra_options={},
        )
        quantiser.quantize_model()
        model: onnx.ModelProto = quantiser.model.model
        return model

    def error(self, model: "onnx.ModelProto") -> float:
        """Return the mean squared error of the output of a model."""
        run, pairs = session(model.SerializeToString()), zip(self.expected, self.probes, strict=True)
        return sum(float(np.square(run(probe)[0] - expected).mean()) for expected, probe in pairs) / len(self.probes)


def _ranges(path: Path, folder: Path, inputs: Sequence[Inputs]) -> Any:
    """Return the least and greatest values of the inputs and outputs of all layers (`TensorsData` of onnxruntime)."""
    from onnxruntime.quantization.calibrate import CalibrationDataReader, create_calibrator

    left = iter(inputs)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Inputs | None:
            return next(left, None)

    calibrator = create_calibrator(path, list(TYPES), augmented_model_path=str(folder / "ranges.onnx"))
    calibrator.collect_data(Reader())
    return calibrator.compute_data()


def _layers(model: "onnx.ModelProto", inputs: Inputs) -> list[Layer]:
    """Return the nodes with constant weights, with the sizes of their outputs for these inputs."""
    from onnx import TensorProto, helper

    model = copy.deepcopy(model)
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in TYPES and node.input[1] in weights]
    del model.graph.output[:]
    for node in nodes:
        model.graph.node.append(helper.make_node("Shape", [node.output[0]], [f"{node.output[0]}/size"]))
        model.graph.output.append(helper.make_tensor_value_info(f"{node.output[0]}/size", TensorProto.INT64, [None]))
    layers = []
    for node, size in zip(nodes, session(model.SerializeToString())(inputs), strict=True):
        channels = int(size[1] if node.op_type == "Conv" else size[-1])
        layers.append(Layer(node.name, node.input[1], math.prod(size) * math.prod(weights[node.input[1]]) // channels))
    return layers
