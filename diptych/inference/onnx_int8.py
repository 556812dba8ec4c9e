"""Conversion of an ONNX file to 8-bit integers; layers whose quantisation costs most stay in float32.

Activations have 8 bits, within their range on example images. Weights have a scale for each channel and 7 bits, as
onnxruntime advises for processors without VNNI: these add two products of 8 bits in 16 bits, with saturation.
"""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}-") as folder:
        quantiser = _Quantiser(source, Path(folder), inputs)
        layers, kept = quantiser.layers, list[Layer]()
        error = quantiser.write(target, layers)
        if decibels(error) < TARGET:
            errors = {layer: quantiser.write(Path(folder) / "alone.onnx", [layer]) for layer in layers}
            candidates = _candidates(errors)
            while candidates and decibels(error) < TARGET:
                count = _enough(errors, kept, candidates, error)
                kept += candidates[:count]
                del candidates[:count]
                error = quantiser.write(target, [layer for layer in layers if layer not in kept])
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
    """Quantises chosen layers of a file, and measures the error on a few inputs."""

    def __init__(self, source: Path, folder: Path, inputs: Sequence[Inputs]) -> None:
        import onnx
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self.inputs, self.probes = inputs, inputs[:: -(-len(inputs) // PROBES)]
        self.prepared, self.ranges = folder / "prepared.onnx", folder / "ranges.json"
        run = session(source)
        self.expected = [run(probe)[0] for probe in self.probes]
        model = onnx.load_model(source)
        replace_transposed_convolutions(model)
        onnx.save_model(model, folder / "replaced.onnx")
        quant_pre_process(folder / "replaced.onnx", self.prepared, skip_symbolic_shape=True)
        self.layers = _layers(onnx.load_model(self.prepared), folder / "sizes.onnx", self.probes[0])

    def write(self, path: Path, layers: Sequence[Layer]) -> float:
        """Write the file with some layers quantised, and return its mean squared error."""
        from onnxruntime import quantization

        inputs = iter(self.inputs)

        class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
            def get_next(self) -> Inputs | None:
                return next(inputs, None)

        quantization.quantize_static(
            self.prepared,
            path,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(TYPES),
            nodes_to_quantize=[layer.node for layer in layers],
            activation_type=quantization.QuantType.QUInt8,
            per_channel=True,
            reduce_range=True,
            calibration_cache_path=self.ranges,
        )
        run, pairs = session(path), zip(self.expected, self.probes, strict=True)
        return sum(float(np.square(run(probe)[0] - expected).mean()) for expected, probe in pairs) / len(self.probes)


def _layers(model: "onnx.ModelProto", path: Path, inputs: Inputs) -> list[Layer]:
    """Return the nodes with constant weights. Their sizes are those of a run, for which the model is written."""
    from onnx import TensorProto, helper, save_model

    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in TYPES and node.input[1] in weights]
    del model.graph.output[:]
    for node in nodes:
        model.graph.node.append(helper.make_node("Shape", [node.output[0]], [f"{node.output[0]}/size"]))
        model.graph.output.append(helper.make_tensor_value_info(f"{node.output[0]}/size", TensorProto.INT64, [None]))
    save_model(model, path)
    layers = []
    for node, size in zip(nodes, session(path)(inputs), strict=True):
        channels = int(size[1] if node.op_type == "Conv" else size[-1])
        layers.append(Layer(node.name, node.input[1], math.prod(size) * math.prod(weights[node.input[1]]) // channels))
    return layers
